package web

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dapple-drills/dapple/internal/diag"
	"github.com/dapple-drills/dapple/internal/durable"
	"github.com/dapple-drills/dapple/internal/trust"
)

// A Role is what somebody may do on the pages.
type Role string

// The roles. A viewer reads; an operator may also stop drills.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
)

// Roles lists them.
func Roles() []Role { return []Role{Viewer, Operator} }

// A Token lets its holder sign in. The secret itself is not kept, only its SHA-256:
// it is random and long enough that no slower hash is needed.
type Token struct {
	Name   string    `json:"name"`
	Role   Role      `json:"role"`
	SHA256 string    `json:"sha256"`
	Made   time.Time `json:"made"`
}

// TokenFile is where the tokens of a home are: a line of JSON each.
func TokenFile(home string) string { return filepath.Join(home, "serve-tokens.jsonl") }

// secretPrefix lets scanners find a secret where it should not be.
const secretPrefix = "dapple_"

// AddToken makes a token, and returns its secret, which is kept nowhere. A name has
// one token: an earlier one of the same name ends.
func AddToken(path, name string, role Role, now time.Time) (secret string, err error) {
	if strings.TrimSpace(name) == "" || len(name) > 80 {
		return "", errors.New("a token wants a name of at most 80 bytes: whose it is")
	}
	if !slices.Contains(Roles(), role) {
		return "", fmt.Errorf("no role %q; there are: %s, %s", role, Viewer, Operator)
	}
	all, err := ReadTokens(path)
	if err != nil {
		return "", err
	}
	raw := make([]byte, 25)
	rand.Read(raw) // never fails (crypto/rand)
	secret = secretPrefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
	all = slices.DeleteFunc(all, func(t Token) bool { return t.Name == name })
	all = append(all, Token{name, role, hashOf(secret), now.UTC().Truncate(time.Second)})
	return secret, writeTokens(path, all)
}

// RemoveToken ends a token, and whoever signed in with it. ok is false if there is
// none of that name.
func RemoveToken(path, name string) (ok bool, err error) {
	all, err := ReadTokens(path)
	if err != nil {
		return false, err
	}
	rest := slices.DeleteFunc(slices.Clone(all), func(t Token) bool { return t.Name == name })
	if len(rest) == len(all) {
		return false, nil
	}
	return true, writeTokens(path, rest)
}

func writeTokens(path string, all []Token) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, t := range all {
		if err := enc.Encode(t); err != nil {
			return err
		}
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, b.Bytes(), 0o600)
}

// ReadTokens reads the file; one that is not there holds none. It is refused if
// anybody but its owner may read it or write it.
func ReadTokens(path string) (all []Token, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err == nil {
		err = trust.File(path, info)
	}
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, diag.Hint(fmt.Errorf("read the tokens: %s may be read or written by others (mode %04o)", path, info.Mode().Perm()), "chmod 600 "+path)
	}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var t Token
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil || !t.valid() {
			return nil, diag.Hint(fmt.Errorf("read the tokens: %s, line %d is no token", path, n), "`dapple serve token NAME` makes them")
		}
		all = append(all, t)
	}
	return all, lines.Err()
}

func (t Token) valid() bool {
	sum, err := hex.DecodeString(t.SHA256)
	return err == nil && len(sum) == sha256.Size && t.Name != "" && slices.Contains(Roles(), t.Role)
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// A tokenFile is read again when it has changed: a token that was removed ends at
// once.
type tokenFile struct {
	path string

	mu   sync.Mutex
	info fs.FileInfo
	all  []Token
}

func (f *tokenFile) read() ([]Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		f.info, f.all = nil, nil
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	if f.info != nil && os.SameFile(f.info, info) && f.info.ModTime().Equal(info.ModTime()) && f.info.Size() == info.Size() && f.info.Mode() == info.Mode() {
		return f.all, nil
	}
	all, err := ReadTokens(f.path)
	if err != nil {
		return nil, err
	}
	f.info, f.all = info, all
	return all, nil
}

// byHash finds the token with that hash, in the same time wherever it stands.
func (f *tokenFile) byHash(hash string) (found Token, ok bool, err error) {
	all, err := f.read()
	for _, t := range all {
		if subtle.ConstantTimeCompare([]byte(t.SHA256), []byte(hash)) == 1 {
			found, ok = t, true
		}
	}
	return found, ok, err
}
