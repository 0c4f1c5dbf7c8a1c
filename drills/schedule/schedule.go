// Package schedule does drills by themselves, at the times that schedule files
// name: it says when a firing is due, has each happen once, and hands the drill to
// whoever can do it.
//
// It knows no drill: a Runner does one. What must not happen twice is decided in a
// database, so a crash, a second scheduler, and a clock that jumps make nothing
// fire again.
package schedule
