// Package sock ends TCP connections from the outside, one exact connection at a
// time, as an administrator's "ss --kill" does: both programs that talked to each
// other are told at once, instead of after their time-outs.
//
// What it ends cannot be taken back. It chooses nothing by itself.
package sock
