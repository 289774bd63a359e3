package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"p2prc/tables/atomicfile"
)

// hidden stands where a secret would be printed.
const hidden = "[hidden]"

// Key is a node's Ed25519 private key. It prints as [hidden]. LoadOrCreate and
// NewKey make one; the zero value holds none.
type Key struct {
	// Behind a pointer: fmt calls no methods on unexported fields of other
	// structs, it prints what they hold, and of a pointer that is the address.
	s *keySecret
}

type keySecret struct {
	private     *ed25519.PrivateKey              // a pointer too: a verb that does not fit, %s say, prints the struct
	certificate func() (*tls.Certificate, error) // made once
}

// NewKey makes a key that lives in memory only.
func NewKey() Key {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails: it ends the program instead (crypto/rand, Go 1.24)
	return keyOf(ed25519.NewKeyFromSeed(seed))
}

func keyOf(private ed25519.PrivateKey) Key {
	return Key{&keySecret{
		private:     &private,
		certificate: sync.OnceValues(func() (*tls.Certificate, error) { return selfSigned(private) }),
	}}
}

const pemPrivateKey = "PRIVATE KEY"

// LoadOrCreate reads the key in path, or makes one there when nothing is at
// that path. A key that cannot be read is an error, never replaced: with it
// would go the node's ID and every port reserved for it.
func LoadOrCreate(path string) (Key, error) {
	k, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	// A link to nowhere reads as "does not exist" too: its target may be on a
	// disk that is not mounted yet.
	if _, lerr := os.Lstat(path); !errors.Is(lerr, fs.ErrNotExist) {
		return Key{}, err
	}
	k = NewKey()
	der, err := x509.MarshalPKCS8PrivateKey(*k.s.private)
	if err != nil {
		return Key{}, fmt.Errorf("encoding a new node key: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der})
	if err := atomicfile.Write(path, block, secretPerm); err != nil {
		return Key{}, err
	}
	return k, nil
}

func loadKey(path string) (Key, error) {
	b, err := readSecret(path)
	if err != nil {
		return Key{}, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemPrivateKey {
		return Key{}, &CorruptKeyError{path, errors.New("it holds no PEM private key")}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Key{}, &CorruptKeyError{path, err}
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return Key{}, &CorruptKeyError{path, errors.New("it holds a key of another kind than Ed25519")}
	}
	return keyOf(private), nil
}

// CorruptKeyError says that what stands in a key file is no key.
type CorruptKeyError struct {
	Path string
	Err  error
}

func (e *CorruptKeyError) Error() string { return fmt.Sprintf("reading %s: %v", e.Path, e.Err) }

// Unwrap is what is wrong with it.
func (e *CorruptKeyError) Unwrap() error { return e.Err }

// ID is the ID of the node that holds this key.
func (k Key) ID() ID { return IDOf(k.Public()) }

// Public is the key that others check signatures with.
func (k Key) Public() ed25519.PublicKey { return k.s.private.Public().(ed25519.PublicKey) }

// Sign signs msg. The same key also signs TLS handshakes, so msg must begin
// with a prefix of its own kind that no other signed message has.
func (k Key) Sign(msg []byte) []byte { return ed25519.Sign(*k.s.private, msg) }

// Verify says what is wrong with a signature that is said to be made by node id.
func Verify(id ID, public ed25519.PublicKey, msg, sig []byte) error {
	// ed25519.Verify panics on a public key of another length.
	if len(public) != ed25519.PublicKeySize || IDOf(public) != id {
		return fmt.Errorf("the public key is not that of node %s", id.Short())
	}
	if !ed25519.Verify(public, msg, sig) {
		return fmt.Errorf("the signature is not by node %s", id.Short())
	}
	return nil
}

func (Key) String() string       { return hidden }
func (Key) GoString() string     { return hidden }
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }
