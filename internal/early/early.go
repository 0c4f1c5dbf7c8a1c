// Package early is initialised before the libraries that look at the machine while
// they are being initialised, and keeps them from it.
//
// testcontainers-go lists every process of the machine before main begins, to name
// its test session. That was half of the start of this program on a machine with 150
// processes, grows with their number, and is done by every agent and every command;
// nobody here uses the name (docs/adr/0086-nothing-is-listed-before-main.md).
//
// The order is Go's: packages are initialised sorted by import path, each as soon as
// what it imports is. This one imports nothing but os, and its path is less than
// theirs. Should it ever come too late, the start is slow again and nothing else; a
// test of the program says so.
package early

import "os"

// procEnv is where gopsutil finds /proc, by which testcontainers-go lists processes.
const procEnv = "HOST_PROC"

// held is what was to be set; "" if the variable was not ours.
var held = hide()

// hide shows no process to whoever is initialised later. The variable of somebody
// who has set it is left alone.
func hide() string {
	if _, theirs := os.LookupEnv(procEnv); theirs {
		return ""
	}
	const nothing = "/dev/null" // no folder: no process is in it
	if os.Setenv(procEnv, nothing) != nil {
		return "" // then they are listed
	}
	return nothing
}

// Over ends it: everything is seen as it is. To be called first of all in main, so
// that no child is told a wrong place.
func Over() error {
	if held == "" {
		return nil
	}
	held = ""
	return os.Unsetenv(procEnv)
}
