package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/dapple-drills/dapple/internal/peers"
)

// Params is what may stand under "with".
type Params struct {
	Delay   time.Duration `yaml:"delay" json:"delay,omitempty" jsonschema:"type=string,description=How much later each answer comes: 2s."`
	Refuse  Refusal       `yaml:"refuse" json:"refuse,omitempty" jsonschema:"enum=refused,enum=servfail,enum=nxdomain,description=What is answered instead: refused and servfail (ask another server) or nxdomain (there is no such name)."`
	Wrong   []netip.Addr  `yaml:"wrong" json:"wrong,omitempty" jsonschema:"description=Addresses that every name has instead of its own. Of the version of IP that is not among them it has none."`
	Drop    bool          `yaml:"drop" json:"drop,omitempty" jsonschema:"description=yes: nothing is answered."`
	Names   []string      `yaml:"names" json:"names,omitempty" jsonschema:"description=Only questions for these names and the ones below them; the default is all names."`
	Servers []netip.Addr  `yaml:"servers" json:"servers,omitempty" jsonschema:"description=The addresses of the name servers that the node asks; the default are those in its /etc/resolv.conf."`
}

// A Refusal is what a name server says instead of an answer.
type Refusal string

const (
	refused  Refusal = "refused"
	servfail Refusal = "servfail"
	nxdomain Refusal = "nxdomain"
)

// UnmarshalText reads a refusal.
func (r *Refusal) UnmarshalText(text []byte) error {
	return peers.Word(r, "refusal", text, refused, servfail, nxdomain)
}

// code is the refusal on the wire (RFC 1035, RFC 6895).
func (r Refusal) code() int {
	return map[Refusal]int{refused: dns.RcodeRefused, servfail: dns.RcodeServerFailure, nxdomain: dns.RcodeNameError}[r]
}

// most is the longest delay: no resolver waits longer for one answer.
const most = time.Minute

// check finds what cannot be, or cannot be together, whatever the system is; and
// writes names and addresses as they are compared.
func (p *Params) check() error {
	chosen := 0
	for _, is := range []bool{p.Delay != 0, p.Refuse != "", len(p.Wrong) > 0, p.Drop} {
		if is {
			chosen++
		}
	}
	switch {
	case chosen == 0:
		return errors.New("what becomes of the answers? say one of delay: 2s, refuse: servfail, wrong: [192.0.2.1], drop: yes")
	case chosen > 1:
		return errors.New("delay, refuse, wrong and drop exclude each other: one answer has one fate; say one")
	case p.Delay > most:
		return fmt.Errorf("delay %v: no resolver waits longer than %v for one answer; say drop: yes", p.Delay, most)
	}
	for i, n := range p.Names {
		name, err := canonical(n)
		if err != nil {
			return err
		}
		p.Names[i] = name
	}
	if n := peers.Twice(p.Names); n != "" {
		return fmt.Errorf("names: %s is named twice", strings.TrimSuffix(n, "."))
	}
	for _, n := range p.Names {
		for _, other := range p.Names {
			if n != other && below(n, other) {
				return fmt.Errorf("names: %s is below %s, which is named too", strings.TrimSuffix(n, "."), strings.TrimSuffix(other, "."))
			}
		}
	}
	return p.checkAddresses()
}

func (p *Params) checkAddresses() error {
	for i, a := range p.Wrong {
		p.Wrong[i] = a.Unmap()
		if a.Zone() != "" {
			return fmt.Errorf("wrong: %v: an answer has no zone", a)
		}
	}
	for i, a := range p.Servers {
		a = a.Unmap()
		if a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("servers: %v is no address of a name server that can be told from others", a)
		}
		p.Servers[i] = a
	}
	for name, list := range map[string][]netip.Addr{"wrong": p.Wrong, "servers": p.Servers} {
		sorted := slices.SortedFunc(slices.Values(list), netip.Addr.Compare)
		if len(slices.Compact(sorted)) != len(list) {
			return fmt.Errorf("%s: an address is named twice", name)
		}
	}
	return nil
}

// canonical is a name as it is compared: in lower case, with a dot at the end.
func canonical(name string) (string, error) {
	n := strings.ToLower(strings.TrimSuffix(name, "."))
	if rest, is := strings.CutPrefix(n, "*."); is {
		return "", fmt.Errorf("names: %q: what is below a name is meant with it: write %s", name, rest)
	}
	if _, err := netip.ParseAddr(n); err == nil {
		return "", fmt.Errorf("names: %q is an address: a program that has one asks nobody", name)
	}
	labels, is := dns.IsDomainName(n)
	if n == "" || !is || labels == 0 || strings.ContainsFunc(n, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/:\*,;"`, r) }) {
		return "", fmt.Errorf("names: %q is no name: write db.example.com, and one with other letters as it is sent (xn--…)", name)
	}
	return n + ".", nil
}

// below says whether name is the other or below it; both are canonical.
func below(name, other string) bool {
	return name == other || strings.HasSuffix(name, "."+other)
}
