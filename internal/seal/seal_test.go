package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func signed(t *testing.T, dir string) (key string, envelope []byte) {
	t.Helper()
	key = filepath.Join(dir, "keys", "k.pem")
	k, made, err := LoadKey(key)
	if err != nil || !made {
		t.Fatalf("%v, %v", made, err)
	}
	envelope, err = k.Sign(t.Context(), Statement{Subject: []Subject{{"a", map[string]string{"sha256": "00"}}}, PredicateType: "p", Predicate: json.RawMessage(`{"x":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	return key, envelope
}

func public(t *testing.T, path string) PublicKey {
	t.Helper()
	k, err := LoadPublicKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWhatWasSignedIsOpenedWithItsKeyAlone(t *testing.T) {
	key, env := signed(t, t.TempDir())
	other, _ := signed(t, t.TempDir())
	s, id, err := Open(t.Context(), env, []PublicKey{public(t, other+".pub"), public(t, key+".pub")})
	if err != nil || string(s.Predicate) != `{"x":1}` || s.Subject[0].Name != "a" || !strings.HasPrefix(id, "SHA256:") {
		t.Errorf("%+v, %q, %v", s, id, err)
	}
	for _, keys := range [][]PublicKey{nil, {public(t, other+".pub")}} {
		if _, _, err := Open(t.Context(), env, keys); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("with %d other keys: %v", len(keys), err)
		}
	}
	again, made, err := LoadKey(key)
	if err != nil || made {
		t.Fatalf("the key is not found again: %v", err)
	}
	if b, err := again.Sign(t.Context(), Statement{}); err != nil || len(b) == 0 {
		t.Error(err)
	}
}

func TestWhateverIsChangedInAnEnvelopeIsRefused(t *testing.T) {
	key, env := signed(t, t.TempDir())
	keys := []PublicKey{public(t, key+".pub")}
	var e map[string]any
	if err := json.Unmarshal(env, &e); err != nil {
		t.Fatal(err)
	}
	body, _ := base64.StdEncoding.DecodeString(e["payload"].(string))
	e["payload"] = base64.StdEncoding.EncodeToString(bytes.Replace(body, []byte(`"x":1`), []byte(`"x":2`), 1))
	forged, _ := json.Marshal(e)
	if _, _, err := Open(t.Context(), forged, keys); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("with another payload: %v", err)
	}
	retyped := bytes.Replace(env, []byte("in-toto"), []byte("in-tata"), 1)
	if _, _, err := Open(t.Context(), retyped, keys); err == nil {
		t.Error("with another type")
	}
	if _, _, err := Open(t.Context(), []byte("{"), keys); err == nil || Looks([]byte("{")) || !Looks(env) {
		t.Errorf("half an envelope: %v", err)
	}
}

func TestKeysThatAreNoneAreRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	for _, content := range []string{"", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", content, err)
		}
		if _, err := LoadPublicKey(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// What openssl makes is a key here, and what we make is one there.
func TestOpenSSLAndWeReadEachOthersKeys(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		return // the formats are those of the standard library in any case
	}
	dir := t.TempDir()
	key, _ := signed(t, dir)
	if out, err := exec.Command(openssl, "pkey", "-pubin", "-in", key+".pub", "-noout", "-text").CombinedOutput(); err != nil || !strings.Contains(strings.ToUpper(string(out)), "ED25519") {
		t.Errorf("%v: %s", err, out)
	}
	theirs := filepath.Join(dir, "theirs.pem")
	if out, err := exec.Command(openssl, "genpkey", "-algorithm", "ed25519", "-out", theirs).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, made, err := LoadKey(theirs); err != nil || made {
		t.Errorf("%v", err)
	}
}
