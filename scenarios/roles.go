package scenarios

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapple-drills/dapple/internal/diag"
)

// Roles are the words that may stand under "on" besides the names of nodes. They
// are resolved when the step is made, by what the nodes claim then.
func Roles() []string {
	return []string{"primary", "leader", "replica", "any replica", "all replicas", "sync replica", "majority", "minority", "all"}
}

// isRole says whether the word is a role; anything else is a node's name.
func isRole(word string) bool { return slices.Contains(Roles(), word) }

// replicaRoles are the roles that never name the primary.
func isReplicaRole(word string) bool {
	return strings.HasSuffix(word, "replica") || word == "all replicas"
}

// foreignRoles are words of others for our roles. They are refused, so that a
// file says the same to everybody who reads it.
func foreignRole(word string) (ours string, ok bool) {
	ours, ok = map[string]string{
		"master": "primary", "active": "primary", "writer": "primary", "main": "primary",
		"slave": "replica", "standby": "replica", "secondary": "replica", "follower": "replica", "passive": "replica", "reader": "replica",
		"any": "any replica", "everyone": "all", "nodes": "all", "every node": "all", "all nodes": "all", "quorum": "majority",
	}[strings.ToLower(word)]
	return ours, ok
}

// role is what is wrong with a word under "on", or nil. A node may have almost
// any name, so only what cannot be one is refused here; the names are compared
// with those of the system by CheckPair, and when the nodes are known.
func role(word string) *slip {
	switch {
	case isRole(word):
		return nil
	case word == "":
		return slipf(ruleZero, "write a role or a node's name", "the role or node is empty")
	}
	if ours, ok := foreignRole(word); ok {
		return slipf(ruleRole, fmt.Sprintf("write %s (a node of that name must be renamed in the system file)", ours), "%q is not a role here", word)
	}
	near := diag.Nearest(word, Roles())
	if strings.ContainsAny(word, " \t\n,") {
		return slipf(ruleRole, meant(word, Roles()), "%q is neither a role nor the name of a node", word)
	}
	if near != "" && !strings.ContainsAny(word, "0123456789") {
		return slipf(ruleRole, fmt.Sprintf("did you mean %q?", near), "%q is not a role", word)
	}
	return nil
}

// atLeast is how many nodes a step touches at the very least.
func atLeast(on Strings) int {
	names := map[string]bool{}
	primary, replica := 0, 0
	for _, word := range on {
		switch {
		case word == "primary" || word == "leader":
			primary = 1
		case isReplicaRole(word):
			replica = 1
		case !isRole(word):
			names[word] = true
		}
	}
	return max(len(names), primary+replica, 1)
}

// sameNode says whether two steps certainly touch the same node. A role is
// resolved when its step is made, so it names the same node twice only if both
// steps are made at the same time.
func sameNode(a, b Step) (word string, same bool) {
	for _, w := range a.On {
		if slices.Contains(b.On, w) && (!isRole(w) || a.At == b.At) {
			return w, true
		}
	}
	if slices.Contains(a.On, "all") && len(b.On) > 0 {
		return b.On[0], true
	}
	if slices.Contains(b.On, "all") && len(a.On) > 0 {
		return a.On[0], true
	}
	return "", false
}
