package lease

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// signedLife is how long a signed lease says that it holds: as long as the
// longest record it may be embedded in. The right to listen ends with the
// lease's TTL, which is between the node and the proxy alone.
const signedLife = 24 * time.Hour

const (
	signedPrefix = "p2prc-lease-v1"
	signedFields = 8 // prefix included; a domain is one more
	maxSigned    = 1024
	signatureLen = 64 // Ed25519
)

// Signed is a lease as the reverse proxy vouches for it to others.
type Signed struct {
	Proxy   identity.ID
	Node    identity.ID
	Name    string
	Type    tables.Protocol
	Port    uint16
	LeaseID string
	Until   time.Time // in whole seconds
	Domain  string    // of HTTP and HTTPS: Port is then shared
}

// Sign gives the exact bytes that travel and are stored: one field a line,
// then the signature.
func (s Signed) Sign(sign func(msg []byte) []byte) []byte {
	msg := s.message()
	return append(msg, sign(msg)...)
}

func (s Signed) message() []byte {
	msg := fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n%d\n%s\n%s\n", signedPrefix,
		s.Proxy, s.Node, s.Name, s.Type, s.Port, s.LeaseID, s.Until.UTC().Format(time.RFC3339))
	if s.Domain != "" {
		msg = append(append(msg, s.Domain...), '\n')
	}
	return msg
}

// ParseSigned reads what Sign made and checks the signature. Only the one
// spelling that Sign writes is accepted. It does not look at the clock: the
// proxy that signed it honours an old one too.
func ParseSigned(b []byte, verify func(msg, sig []byte) bool) (Signed, error) {
	if len(b) > maxSigned || len(b) < signatureLen {
		return Signed{}, fmt.Errorf("reading a signed lease: %d bytes is no length for one", len(b))
	}
	msg, sig := b[:len(b)-signatureLen], b[len(b)-signatureLen:]
	s, err := parseMessage(msg)
	if err != nil {
		return Signed{}, fmt.Errorf("reading a signed lease: %w", err)
	}
	if !verify(msg, sig) {
		return Signed{}, errors.New("reading a signed lease: the signature is not the reverse proxy's")
	}
	return s, nil
}

// SignedBy says which reverse proxy would have signed this: whose key to look up.
func SignedBy(b []byte) (identity.ID, error) {
	s, err := ParseSigned(b, func(_, _ []byte) bool { return true })
	return s.Proxy, err
}

func parseMessage(msg []byte) (Signed, error) {
	f := strings.Split(string(msg), "\n")
	n := len(f) - 1
	if n != signedFields && n != signedFields+1 || f[0] != signedPrefix || f[n] != "" {
		return Signed{}, fmt.Errorf("not %d lines, or with a domain %d, that begin with %s", signedFields, signedFields+1, signedPrefix)
	}
	s := Signed{Name: f[3], Type: tables.Protocol(f[4]), LeaseID: f[6], Domain: strings.Join(f[signedFields:n], "")}
	var err error
	if s.Proxy, err = identity.ParseID(f[1]); err != nil {
		return Signed{}, err
	}
	if s.Node, err = identity.ParseID(f[2]); err != nil {
		return Signed{}, err
	}
	if err := tables.CheckName(s.Name); err != nil {
		return Signed{}, err
	}
	if !s.Type.Known() {
		return Signed{}, fmt.Errorf("%q is not a protocol", f[4])
	}
	if err := tables.CheckDomainOf(s.Type, s.Domain); err != nil {
		return Signed{}, err
	}
	if s.Port, err = tables.ParsePort(f[5]); err != nil {
		return Signed{}, err
	}
	if err := tables.CheckName(s.LeaseID); err != nil {
		return Signed{}, fmt.Errorf("lease ID: %w", err)
	}
	if s.Until, err = time.Parse(time.RFC3339, f[7]); err != nil {
		return Signed{}, fmt.Errorf("%s is not a time", strconv.Quote(f[7]))
	}
	if !bytes.Equal(s.message(), msg) {
		return Signed{}, errors.New("not in its one spelling")
	}
	return s, nil
}

// Secret is what a reverse proxy derives its guard keys from.
type Secret []byte

// GuardKey is what the guard of a lease and its witness share. It is told to
// the holder of the lease alone.
func (s Secret) GuardKey(leaseID string) []byte {
	m := hmac.New(sha256.New, s)
	m.Write([]byte("p2prc-guard-v1\n" + leaseID))
	return m.Sum(nil)
}

const hidden = "[hidden]"

func (Secret) String() string       { return hidden }
func (Secret) GoString() string     { return hidden }
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format keeps every verb, %x too, from showing the secret.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }
