// Package mounts reads which file systems are mounted where
// (/proc/PID/mountinfo, proc_pid_mountinfo(5)).
//
// It reads; it mounts nothing, and it does not know what a path is for.
package mounts

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Mount is one line of mountinfo.
type Mount struct {
	ID           int    // unique while it is mounted; statx(2) gives it for a file (STATX_MNT_ID)
	Major, Minor uint32 // st_dev of files on it, except where the file system makes up others (btrfs)
	Root         string // which directory of the file system is mounted
	Point        string // where, relative to the root of the process
	FSType       string // "ext4", "overlay", "cgroup2" …
	Source       string // by the file system: "/dev/vda1", "tmpfs"
	Super        string // options of the file system: "rw,freezer"
	Options      string // options of this mount of it: "rw,noatime"
	Parent       int    // the ID of the mount that it is upon
	Shared       bool   // what is mounted upon it is seen in other namespaces too
}

// Read reads a file in the format of mountinfo.
func Read(file string) ([]Mount, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	return Parse(string(data))
}

// Parse reads the content of a mountinfo.
func Parse(data string) ([]Mount, error) {
	var all []Mount
	for line := range strings.Lines(data) {
		m, err := parseLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %.80q: %w", line, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// parseLine reads "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw":
// six fields, any number of optional ones, "-", and three more.
func parseLine(line string) (m Mount, err error) {
	front, back, ok := strings.Cut(line, " - ")
	f, b := strings.Split(front, " "), strings.Split(back, " ")
	if !ok || len(f) < 6 || len(b) < 3 {
		return m, fmt.Errorf("it is not of the form ID PARENT MAJOR:MINOR ROOT POINT OPTIONS … - TYPE SOURCE OPTIONS")
	}
	if m.ID, err = strconv.Atoi(f[0]); err != nil {
		return m, err
	}
	if m.Parent, err = strconv.Atoi(f[1]); err != nil {
		return m, err
	}
	m.Shared = slices.ContainsFunc(f[6:], func(o string) bool { return strings.HasPrefix(o, "shared:") })
	major, minor, _ := strings.Cut(f[2], ":")
	ma, err := strconv.ParseUint(major, 10, 32)
	if err != nil {
		return m, err
	}
	mi, err := strconv.ParseUint(minor, 10, 32)
	if err != nil {
		return m, err
	}
	m.Major, m.Minor = uint32(ma), uint32(mi)
	m.Root, m.Point, m.FSType, m.Source = unescape(f[3]), unescape(f[4]), unescape(b[0]), unescape(b[1])
	m.Options, m.Super = f[5], strings.Join(b[2:], " ")
	return m, nil
}

// unescape undoes what the kernel does to blanks, line breaks and backslashes:
// three octal digits after a backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Option is the value of an option of the file system: "/var/lib/…" for
// "upperdir", "" for one that has no value.
func (m Mount) Option(name string) (value string, there bool) {
	for o := range strings.SplitSeq(m.Super, ",") {
		key, value, _ := strings.Cut(o, "=")
		if key == name {
			return unescape(value), true
		}
	}
	return "", false
}

// Place is where the path inside the file system (as /proc/PID/cgroup gives one)
// is to be found through this mount, if it can be.
func (m Mount) Place(inside string) (string, bool) {
	rest := inside
	if m.Root != "/" {
		var ok bool
		if rest, ok = strings.CutPrefix(inside, m.Root); !ok || rest != "" && rest[0] != '/' {
			return "", false
		}
	}
	return path.Join(m.Point, rest), true
}
