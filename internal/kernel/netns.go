package kernel

import (
	"encoding/json"
	"fmt"
)

// A NetNS is a network namespace as it can be told from every other one that there
// ever was since the boot.
type NetNS struct {
	// Inode is that of /proc/PID/ns/net (namespaces(7)). Of those that are there at
	// one moment no two have the same; one that went away leaves it to a later one.
	Inode uint64 `json:"inode"`
	// Cookie is never given twice (socket(7), SO_NETNS_COOKIE, Linux 5.14); 0 is one
	// that the kernel does not tell, or not us.
	Cookie uint64 `json:"cookie,omitempty"`
}

// Is says whether both are one and the same, as far as is known of both.
func (n NetNS) Is(other NetNS) bool {
	return n.Inode == other.Inode && (n.Cookie == other.Cookie || n.Cookie == 0 || other.Cookie == 0)
}

func (n NetNS) String() string { return fmt.Sprintf("net:[%d]", n.Inode) }

// UnmarshalJSON also reads the bare inode, which is all that records of earlier
// versions have.
func (n *NetNS) UnmarshalJSON(data []byte) error {
	var inode uint64
	if json.Unmarshal(data, &inode) == nil {
		*n = NetNS{Inode: inode}
		return nil
	}
	type plain NetNS
	return json.Unmarshal(data, (*plain)(n))
}
