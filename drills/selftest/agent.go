package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/agent"
	"github.com/dapple-drills/dapple/targets"
)

// version is what both sides of the agent's pipe say: they are one program.
const version = "selftest"

// agentConfig is that of an agent that knows the scripted fault alone.
func agentConfig(home string) agent.Config {
	return agent.Config{Kinds: []injectors.Kind{script()}, Openers: []targets.Opener{opener()}, Version: version, Home: home}
}

// AgentMain is the agent of a run, as a process of its own: dapple's agent, which
// knows the scripted fault. args are empty, or the error of its clock: OFFSET in
// nanoseconds and DRIFT. Its clock is then that of another machine.
func AgentMain(ctx context.Context, in io.Reader, out io.Writer, args []string) error {
	if len(args) == 2 {
		offset, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return fmt.Errorf("the clock's offset: %w", err)
		}
		drift, err := strconv.ParseFloat(args[1], 64)
		if err != nil {
			return fmt.Errorf("the clock's drift: %w", err)
		}
		out = &crooked{out: out, clock: Clock{time.Duration(offset), drift}}
	}
	return agent.Serve(ctx, in, out, agentConfig(""))
}

// args are those of AgentMain.
func (c *Clock) args() []string {
	if c == nil {
		return nil
	}
	return []string{strconv.FormatInt(int64(c.Offset), 10), strconv.FormatFloat(c.Drift, 'g', -1, 64)}
}

// crooked is the pipe of an agent on another machine: every instant that it tells
// is by a clock that is off.
type crooked struct {
	out   io.Writer
	clock Clock
	from  *float64 // the first reading
}

// Write takes whole lines, as a json.Encoder gives them.
func (c *crooked) Write(line []byte) (int, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return 0, fmt.Errorf("bend the agent's clock: %w", err)
	}
	bent, err := json.Marshal(c.bend("", v))
	if err != nil {
		return 0, fmt.Errorf("bend the agent's clock: %w", err)
	}
	if _, err := c.out.Write(append(bent, '\n')); err != nil {
		return 0, err
	}
	return len(line), nil
}

func (c *crooked) bend(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = c.bend(k, x)
		}
	case []any:
		for i, x := range v {
			v[i] = c.bend("", x)
		}
	case json.Number:
		if key == "now_ns" || key == "lo_ns" || key == "hi_ns" {
			return c.read(v)
		}
	case string:
		if key == "boot" {
			return "another machine"
		}
	}
	return v
}

func (c *crooked) read(n json.Number) any {
	t, err := n.Int64()
	if err != nil {
		return n
	}
	if c.from == nil {
		from := float64(t)
		c.from = &from
	}
	return t + int64(c.clock.Offset) + int64(c.clock.Drift*(float64(t)-*c.from))
}
