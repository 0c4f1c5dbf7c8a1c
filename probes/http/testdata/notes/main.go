// Notes is a small replicated service for tests of dapple's kind http: three
// nodes that elect a leader among them and keep a list of ids, and a router before
// them, each a process of its own. It is about what a team might write by itself.
//
//	notes up -dir DIR [-bad lose-tail,dual,green,deaf,wall-clock]
//
// starts all of it on free ports of the loopback interface, writes DIR/system.yaml,
// says "ready" on stdout, and runs until it is ended; its processes end with it.
// A leader is one for a term, by the votes of a majority, as long as a majority
// answered it within its lease, and acknowledges what a majority holds. What -bad
// names is broken on purpose:
//
//	lose-tail  the leader acknowledges before any other node holds the write
//	dual       a leader that was voted out goes on acknowledging for some seconds
//	green      the health check is green whatever happens
//	deaf       a node that was started again never catches up
//	wall-clock the lease is counted with the clock that is set, not with that which
//	           only goes on
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: notes up|node|router [flags]"))
	}
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	dir := f.String("dir", "", "where everything is kept")
	id := f.String("id", "", "node: its name")
	bad := f.String("bad", "", "what is broken on purpose")
	f.Parse(os.Args[2:])
	broken := map[string]bool{}
	for word := range strings.SplitSeq(*bad, ",") {
		broken[word] = true
	}
	switch os.Args[1] {
	case "up":
		fail(up(*dir, *bad))
	case "node":
		fail(runNode(*dir, *id, broken))
	case "router":
		fail(runRouter(*dir))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "notes:", err)
		os.Exit(1)
	}
}
