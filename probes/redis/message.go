package redis

import (
	"slices"
	"strings"
)

// A message is what a Sentinel published (sentinel.c, sentinelEvent): the channel
// says what happened, the payload to whom:
//
//	master NAME IP PORT
//	slave NAME IP PORT @ SERVICE IP PORT
//	SERVICE OLD-IP OLD-PORT NEW-IP NEW-PORT          (+switch-master)
type message struct{ channel, payload string }

// whom is the instance that the message is about: what it is, where it is, and of
// what service. ok is false if it is about none.
func (m message) whom() (kind, service, host, port string, ok bool) {
	w := strings.Fields(m.payload)
	if len(w) < 4 || w[0] != "master" && w[0] != "slave" && w[0] != "sentinel" {
		return "", "", "", "", false
	}
	kind, service, host, port = w[0], w[1], w[2], w[3]
	if at := slices.Index(w, "@"); at > 0 {
		if at+1 == len(w) {
			return "", "", "", "", false
		}
		service = w[at+1]
	} else if kind != "master" {
		return "", "", "", "", false
	}
	return kind, service, host, port, true
}

// switched is where the service's primary is now, if the message is that it moved.
func (m message) switched() (service, host, port string, ok bool) {
	w := strings.Fields(m.payload)
	if m.channel != "+switch-master" || len(w) != 5 {
		return "", "", "", false
	}
	return w[0], w[3], w[4], true
}

// noted are the messages that a reader should know of, besides those that are
// events of their own kind, with what they mean.
var noted = map[string]string{
	"+tilt":                             "goes into TILT: its clock jumped or it was held up, and it acts on nothing for 30 s",
	"-tilt":                             "leaves TILT",
	"+try-failover":                     "wants to lead a failover",
	"+elected-leader":                   "leads the failover",
	"+promoted-slave":                   "sees the new primary promoted",
	"+convert-to-slave":                 "makes a returned primary a replica",
	"-failover-abort-not-elected":       "gives the failover up: it was not elected; the next attempt is two failover-timeouts after this one",
	"-failover-abort-no-good-slave":     "gives the failover up: no replica is good enough",
	"-failover-abort-slave-timeout":     "gives the failover up: the replica did not become primary in time",
	"-failover-abort-master-is-back-up": "gives the failover up: the primary is back",
	"+failover-end-for-timeout":         "ends the failover though not every replica was told",
}
