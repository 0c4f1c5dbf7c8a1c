// Package seal signs statements about files and verifies them: in-toto Statement
// v1 in a DSSE envelope, with ed25519 keys in PEM (PKCS #8 and PKIX), so that what
// reads other supply chains' attestations reads ours, and openssl reads the keys.
//
// It knows no drills. What a signature proves is that the holder of the key said
// so; whose key it is must be known by other means.
package seal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/dapple-drills/dapple/internal/durable"
)

const (
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
)

// A Statement says something about files, which are named by their hashes
// (https://github.com/in-toto/attestation, Statement v1).
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// A Subject is one of the files.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"` // "sha256": hex
}

// ErrUnknownKey says that no key that is trusted here has signed; whether the
// content is as it was signed cannot be said then.
var ErrUnknownKey = errors.New("it was signed with none of the keys that are trusted here, or was changed since")

// A Key signs.
type Key struct{ private ed25519.PrivateKey }

// LoadKey reads the key in path; if there is none, it makes one, and its public
// part beside it, with the ending .pub.
func LoadKey(path string) (k Key, made bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		k, err = makeKey(path)
		return k, err == nil, err
	}
	if err != nil {
		return k, false, fmt.Errorf("read the signing key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return k, false, fmt.Errorf("read the signing key %s: it is no PEM file", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return k, false, fmt.Errorf("read the signing key %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return k, false, fmt.Errorf("read the signing key %s: want an ed25519 key, such as openssl genpkey -algorithm ed25519 makes", path)
	}
	return Key{private}, false, nil
}

func makeKey(path string) (k Key, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return k, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return k, err
	}
	shown, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return k, err
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return k, fmt.Errorf("make a signing key: %w", err)
	}
	err = durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600)
	if err == nil {
		err = durable.WriteFile(path+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: shown}), 0o644)
	}
	if err != nil {
		return k, fmt.Errorf("make a signing key: %w", err)
	}
	return Key{private}, nil
}

// Sign signs the statement and returns the envelope as JSON.
func (k Key) Sign(ctx context.Context, s Statement) ([]byte, error) {
	s.Type = statementType
	body, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	signer, err := dsse.NewEnvelopeSigner(party{k.private, k.private.Public().(ed25519.PublicKey)})
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	env, err := signer.SignPayload(ctx, payloadType, body)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	data, err := json.MarshalIndent(env, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return append(data, '\n'), nil
}

// A PublicKey verifies.
type PublicKey struct{ key ed25519.PublicKey }

// LoadPublicKey reads the public key in path.
func LoadPublicKey(path string) (PublicKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return PublicKey{}, fmt.Errorf("read the public key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return PublicKey{}, fmt.Errorf("read the public key %s: it is no PEM file", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("read the public key %s: %w", path, err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("read the public key %s: want an ed25519 key", path)
	}
	return PublicKey{public}, nil
}

// Looks says whether data is an envelope at all.
func Looks(data []byte) bool {
	var e dsse.Envelope
	return json.Unmarshal(data, &e) == nil && e.PayloadType != "" && e.Payload != ""
}

// Open verifies the envelope with any of the keys, and returns what was signed and
// the id of the key.
func Open(ctx context.Context, envelope []byte, keys []PublicKey) (s Statement, keyID string, err error) {
	if len(keys) == 0 {
		return s, "", ErrUnknownKey
	}
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return s, "", fmt.Errorf("read the envelope: %w", err)
	}
	var parties []dsse.Verifier
	for _, k := range keys {
		parties = append(parties, party{public: k.key})
	}
	v, err := dsse.NewEnvelopeVerifier(parties...)
	if err != nil {
		return s, "", fmt.Errorf("verify: %w", err)
	}
	accepted, body, err := v.VerifyAndDecode(ctx, &e)
	if err != nil {
		return s, "", ErrUnknownKey // the library says how many signatures it wanted
	}
	if e.PayloadType != payloadType {
		return s, "", fmt.Errorf("verify: what was signed is of type %q, and no statement", e.PayloadType)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&s); err != nil || s.Type != statementType {
		return s, "", errors.Join(errors.New("verify: what was signed is no in-toto statement"), err)
	}
	return s, accepted[0].KeyID, nil
}

// A party is a key as the library wants it. Its id is the fingerprint that ssh
// shows of the same key.
type party struct {
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

func (p party) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(p.private, data), nil
}

func (p party) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(p.public, data, sig) {
		return errors.New("the signature is another's, or what was signed was changed")
	}
	return nil
}

func (p party) KeyID() (string, error) { return dsse.SHA256KeyID(p.public) }

func (p party) Public() crypto.PublicKey { return p.public }
