// Package identity answers who a node is, and how it proves that: its key, its
// ID, the TLS settings that check a peer by key, the token that admits it once,
// and the line a user pastes to join. Not here: who is admitted (the reverse
// proxy's own list, behind peerapi.Service) and what is said on a connection
// (peerapi).
package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
)

// ID names a node: the first 160 bits of the SHA-256 of its Ed25519 public
// key, as 32 lower-case base32 characters. It is also the pin that a peer is
// checked against.
type ID string

const (
	idBytes = 20
	idChars = 32
)

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// IDOf is the ID of the node that holds this public key.
func IDOf(pub ed25519.PublicKey) ID {
	sum := sha256.Sum256(pub)
	return ID(idEncoding.EncodeToString(sum[:idBytes]))
}

// ParseID reads an ID as String prints it.
func ParseID(s string) (ID, error) {
	b, err := idEncoding.DecodeString(s)
	// The decoder skips line breaks, an ID has none.
	if err != nil || len(b) != idBytes || len(s) != idChars {
		return "", fmt.Errorf("%q is not a node ID: want 32 characters of a-z and 2-7", s)
	}
	return ID(s), nil
}

// Short is enough of the ID to tell nodes apart on a screen; never compare it.
func (id ID) Short() string { return string(id[:min(len(id), 8)]) }
