package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
	"github.com/dapple-drills/dapple/drills/timeline"
	"github.com/dapple-drills/dapple/drills/training"
	"github.com/dapple-drills/dapple/drills/verdict"
	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/reports/live"
	"github.com/dapple-drills/dapple/scenarios"
)

// trainFlags are what a training needs besides a drill.
type trainFlags struct {
	trainee string
	trainer string
	roster  string
	listen  string
}

func trainCmd(g *globals, io stdio) *cobra.Command {
	f := drillFlags{train: &trainFlags{}}
	c := &cobra.Command{
		Use:   "train SCENARIO…",
		Short: "A drill whose fault a person faces without knowing it",
		Long: `Run a drill for a person: what is broken, where and when, is not told. The terminal
shows symptoms (what clients and nodes answer, how long it takes, alerts), and takes
stamps, a line each; a word may be shortened:

  acknowledged [NOTE]   somebody knows            hint    show the next hint, at its price
  diagnosed [NOTE]      what it is                state   what is known at this moment
  decided [NOTE]        what is to be done        end     give up: everything is taken back
  acted [NOTE]          it is being done
  resolved [NOTE]       it is over

"dapple stamp" gives them from a second terminal and begins the trainee's own commands,
and a webhook takes them (docs/guides/train.md). Whoever leads says "dapple train next"
and "dapple train end". When "resolved" was said and the clients are served, the faults
are taken back, and at the latest after their time; "dapple stop" ends every drill.

At the end everything is told: the debrief (debrief.html beside the report) has person
and machine on one axis and splits the outage into alert, human and machine time. The
record names the trainee, so the checklist knows who has practised.

Of several scenarios, or a folder, one is chosen at random (--seed chooses it again), of
those that are for the system.`,
		Example: `  dapple train etcd/ --on cluster:etcd --trainee "Ana Lima"
  dapple train manual-promotion.yaml --on orders-db.yaml --trainee ana --trainer tom --roster roster.yaml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f.names = args
			return train(c.Context(), g, io, f)
		},
	}
	addDrillFlags(c, &f)
	c.Flags().StringVar(&f.out, "out", "", "the run directory: new, or empty")
	c.Flags().BoolVar(&f.asJSON, "json", false, "the record on stdout instead of the debrief and the summary")
	c.Flags().StringVar(&f.train.trainee, "trainee", "", "who faces the fault, by the name of the roster (default: the user who runs dapple)")
	c.Flags().StringVar(&f.train.trainer, "trainer", "", "who leads, if anybody does")
	c.Flags().StringVar(&f.train.roster, "roster", "", "the roster file: the trainee must be in it, and may be named by a login")
	c.Flags().StringVar(&f.train.listen, "listen", "127.0.0.1:0", "where stamps are taken by HTTP, with the token that is in the run directory (training.json)")
	for _, name := range []string{"trials", "phase"} {
		c.Flags().Lookup(name).Hidden = true // one trial, whose moment is its own
	}
	c.AddCommand(paceCmd(io, training.Next, "Have the next fault of the training come now"),
		paceCmd(io, training.End, "End the training: no further fault, and everything is taken back"),
		trainHintCmd(io), trainStateCmd(io), debriefCmd(io))
	return c
}

// train is the command: it chooses the scenario, and does the drill.
func train(ctx context.Context, g *globals, io stdio, f drillFlags) error {
	if f.trials > 1 {
		return usage(errors.New("a training is one trial: what comes twice is no surprise"))
	}
	f.trials = 1
	if err := f.train.people(); err != nil {
		return usage(err)
	}
	for f.seed == 0 {
		f.seed = rand.Int64()
	}
	var err error
	if f.scenario, err = chooseScenario(f); err != nil {
		return err
	}
	return runDrill(ctx, g, io, f, ciJob(io))
}

// people finds the trainee in the roster, if there is one.
func (t *trainFlags) people() error {
	name := firstOf(strings.TrimSpace(t.trainee), operator())
	t.trainee = name
	if t.roster == "" {
		return nil
	}
	ros, err := scenarios.LoadRoster(t.roster)
	if err != nil {
		return err
	}
	var names []string
	for _, p := range ros.People {
		if p.Name == name {
			return nil
		}
		for _, login := range p.Logins {
			if login == name {
				t.trainee = p.Name
				return nil
			}
		}
		names = append(names, p.Name)
	}
	return diag.Hint(fmt.Errorf("nobody in %s is called %q, nor has that login", t.roster, name), "there are: "+strings.Join(names, ", "))
}

// chooseScenario takes one of those that were named, which are for the system. What
// keeps one from being read is no reason not to take another.
func chooseScenario(f drillFlags) (string, error) {
	found, err := findScenarios(f.names)
	if err != nil {
		return "", err
	}
	var fit []string
	var why error
	for _, s := range found.files {
		f.scenario = s.name
		if _, err := loadFiles(f); err != nil {
			why = errors.Join(why, err)
			continue
		}
		fit = append(fit, s.name)
	}
	if len(fit) == 0 {
		return "", usage(why)
	}
	return fit[rand.New(rand.NewPCG(uint64(f.seed), 1)).IntN(len(fit))], nil //nolint:gosec // a draw, which --seed repeats
}

// surprise lets the first fault come at a random moment.
func surprise(sc *scenarios.Scenario, seed int64) {
	if within := sc.Training.Within.D(); within > 0 {
		r := rand.New(rand.NewPCG(uint64(seed), 2)) //nolint:gosec // likewise
		*sc = *sc.WithDefaults()
		sc.Steady += scenarios.Duration(time.Duration(r.Int64N(int64(within))).Round(time.Millisecond))
	}
}

// A lesson is the training of one bound drill.
type lesson struct {
	desk     *training.Desk
	receiver *training.Receiver
	symptoms *live.Symptoms
}

// teach makes the drill one for people: they are heard, and see symptoms alone.
func (b *bound) teach(ctx context.Context, f drillFlags) error {
	p := b.plan
	o := training.Options{Run: p.Run, Task: p.Scenario.Training.Task, Trainee: f.train.trainee, Trainer: f.train.trainer, Steps: len(p.Steps)}
	for i, h := range p.Scenario.Training.Hints {
		o.Hints = append(o.Hints, training.Hint{N: i + 1, Text: h.Text, Price: h.Price.D().Seconds(), Points: int64(h.Points)})
	}
	l := &lesson{desk: training.New(o), symptoms: live.NewSymptoms(progress(b.g, b.io))}
	var err error
	if l.receiver, err = training.Listen(ctx, f.train.listen, p.Dir, l.desk); err != nil {
		return refuse(err)
	}
	b.ends = append(b.ends, func(context.Context) error { return l.receiver.Close() })
	people := []drills.Person{{Name: o.Trainee, Role: drills.Trainee}}
	if o.Trainer != "" {
		people = append(people, drills.Person{Name: o.Trainer, Role: drills.Trainer})
	}
	p.Training = &drills.Training{People: people, Pace: l.desk}
	p.Probes = append(p.Probes, l.desk)
	b.lesson = l
	l.welcome(b.io.err, o, p)
	go l.hear(b.io.in, b.io.err)
	return nil
}

// welcome says what the trainee may know.
func (l *lesson) welcome(w io.Writer, o training.Options, p *drills.Plan) {
	fmt.Fprintf(w, "training %s: %s on %s\n", o.Run, o.Trainee, p.Target.Name)
	if o.Task != "" {
		fmt.Fprintf(w, "%s\n", strings.TrimSpace(o.Task))
	}
	fmt.Fprintf(w, "stamps: %s; also: hint (%d), state, end\n", strings.Join(verdict.Stamps(), ", "), len(o.Hints))
	fmt.Fprintf(w, "from another terminal: dapple stamp %s %s --by %q\n", shellWord(p.Dir), verdict.Acknowledged, o.Trainee)
}

// watch shows symptoms, and passes on to the desk what it has to know.
func (l *lesson) watch(b *bound) (stop func(), err error) {
	b.plan.Watch = func(e timeline.Event) {
		l.desk.See(e)
		l.symptoms.Event(e)
	}
	return b.ended(l.symptoms.Close), nil
}

// hear takes lines until there are none.
func (l *lesson) hear(in io.Reader, w io.Writer) {
	if in == nil {
		return
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		began := time.Now()
		if text := strings.TrimSpace(lines.Text()); text != "" {
			if err := l.line(w, text, began); err != nil {
				fmt.Fprintf(w, "not taken: %v\n", err)
			}
		}
	}
}

// line is one line of the trainee.
func (l *lesson) line(w io.Writer, text string, began time.Time) error {
	word, note, _ := strings.Cut(text, " ")
	what, err := meantBy(word)
	if err != nil {
		return err
	}
	switch what {
	case "hint":
		_, err = l.desk.Hint("", "terminal")
	case "state":
		writeState(w, l.desk.State())
	default:
		s := training.Said{What: what, Note: note, Via: "terminal", Began: began}
		if what == training.End {
			s.By = l.desk.State().Trainee
		}
		_, err = l.desk.Say(s)
	}
	return err
}

// meantBy finds the word that a beginning of it means.
func meantBy(short string) (string, error) {
	words := append(verdict.Stamps(), "hint", "state", training.End)
	var found []string
	for _, w := range words {
		if strings.HasPrefix(w, strings.ToLower(short)) {
			found = append(found, w)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%q is none of: %s", short, strings.Join(words, ", "))
	}
	return found[0], nil
}
