package guardrails

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dapple-drills/dapple/internal/durable"
)

// An Ack is somebody on call who knows of the drills that come.
type Ack struct {
	System string    `json:"system"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// ackFile is where the last acknowledgement for a system is. The name is hashed by
// no one: what cannot stand in a file's name is replaced, and the system's name is
// in the file.
func ackFile(home, system string) string {
	safe := []rune(system)
	for i, r := range safe {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-') {
			safe[i] = '_'
		}
	}
	return filepath.Join(home, "acks", string(safe)+".json")
}

// Acknowledge writes down that somebody on call knows.
func Acknowledge(home string, a Ack) error {
	data, err := json.Marshal(a)
	if err == nil {
		err = durable.MkdirAll(filepath.Join(home, "acks"), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(ackFile(home, a.System), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write down the acknowledgement: %w", err)
	}
	return nil
}

// acknowledged is why nobody on call is known to know.
func (c Case) acknowledged() error {
	valid := c.System.Guardrails.OnCall.D()
	if valid == 0 {
		valid = defaultAck
	}
	data, err := os.ReadFile(ackFile(c.Home, c.System.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return tripped("nobody has acknowledged: whoever is on call says `dapple ack %q`", c.System.Name)
	}
	var a Ack
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	switch age := c.Now().Sub(a.At); {
	case err != nil:
		return fmt.Errorf("read the acknowledgement: %w", err)
	case a.System != c.System.Name:
		return tripped("nobody has acknowledged: whoever is on call says `dapple ack %q`", c.System.Name)
	case age > valid || age < -time.Minute:
		return tripped("%s acknowledged %v ago, which holds for %v: say `dapple ack %q` again", a.By, age.Round(time.Second), valid, c.System.Name)
	}
	return nil
}
