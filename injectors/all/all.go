// Package all is the catalogue of faults: a plain list, so that what exists does
// not depend on who imports whom. It holds no code of its own.
package all

import (
	"github.com/dapple-drills/dapple/injectors"
	"github.com/dapple-drills/dapple/injectors/clockskew"
	"github.com/dapple-drills/dapple/injectors/command"
	"github.com/dapple-drills/dapple/injectors/diskfill"
	"github.com/dapple-drills/dapple/injectors/diskslow"
	"github.com/dapple-drills/dapple/injectors/dns"
	"github.com/dapple-drills/dapple/injectors/kill"
	"github.com/dapple-drills/dapple/injectors/netem"
	"github.com/dapple-drills/dapple/injectors/noop"
	"github.com/dapple-drills/dapple/injectors/partition"
	"github.com/dapple-drills/dapple/injectors/pause"
	"github.com/dapple-drills/dapple/injectors/pressure"
	"github.com/dapple-drills/dapple/injectors/readonly"
)

// Kinds are all faults, by name.
func Kinds() []injectors.Kind {
	return []injectors.Kind{
		clockskew.Kind(),
		command.Kind(),
		diskfill.Kind(),
		diskslow.Kind(),
		dns.Kind(),
		kill.Kind(),
		netem.Kind(),
		noop.Kind(),
		partition.Kind(),
		pause.Kind(),
		pressure.Kind(),
		readonly.Kind(),
	}
}
