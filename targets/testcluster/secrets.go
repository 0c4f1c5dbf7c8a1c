package testcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// appPasswordFile is where the containers of a cluster keep the password of the
// role app. Whoever may read it there may do anything with the engine anyway.
const appPasswordFile = "/etc/dapple/app.password"

// secrets are the passwords of one cluster: random, and of no use after it.
type secrets struct{ super, replication, rewind, app string }

func newSecrets() secrets { return secrets{newID(16), newID(16), newID(16), newID(16)} }

func newReader(s string) *strings.Reader { return strings.NewReader(s) }

// secretFile holds the password of the role app for clients on this machine.
func secretFile(dir, run string) string {
	return filepath.Join(dir, "clusters", run, "app.password")
}

func writeSecret(dir, run, password string) error {
	path := secretFile(dir, run)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keeping the cluster's password: %w", err)
	}
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		return fmt.Errorf("keeping the cluster's password: %w", err)
	}
	return nil
}

func removeSecret(dir, run string) error {
	if err := os.RemoveAll(filepath.Dir(secretFile(dir, run))); err != nil {
		return fmt.Errorf("removing the cluster's password: %w", err)
	}
	return nil
}

// sweepSecrets removes the passwords of runs that are no more: of clusters whose
// starter was killed.
func sweepSecrets(dir string, there map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(dir, "clusters"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for passwords of clusters: %w", err)
	}
	var errs []error
	for _, e := range entries {
		// Only what writeSecret made, and not that of a cluster which is just
		// being started: the password comes before its containers.
		info, err := os.Stat(secretFile(dir, e.Name()))
		if err == nil && !there[e.Name()] && time.Since(info.ModTime()) > time.Minute {
			errs = append(errs, removeSecret(dir, e.Name()))
		}
	}
	return errors.Join(errs...)
}
