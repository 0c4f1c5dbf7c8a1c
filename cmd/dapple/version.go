package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/dapple-drills/dapple/drills"
)

// Set by -ldflags "-X main.version=… -X main.commit=…" in releases.
var (
	version = ""
	commit  = ""
)

// buildVersion is what agents and records call this program. A build without a
// stamp is told apart by its module version, or "devel".
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func versionCmd(io stdio) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{
				"version": buildVersion(), "commit": commit, "go": runtime.Version(),
				"platform": runtime.GOOS + "/" + runtime.GOARCH, "record_schema": drills.Schema,
			}
			if asJSON {
				return json.NewEncoder(io.out).Encode(v)
			}
			_, err := fmt.Fprintf(io.out, "dapple %s (%s, %s, records %s)\n", v["version"], v["platform"], v["go"], v["record_schema"])
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
