package record

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"p2prc/tables/identity"
)

// MaxSize bounds a record in bytes, signature included: it is checked before a
// byte is looked at.
const MaxSize = 2 << 10

// How long a record holds, a claim only as long as its lease. No owner chooses
// that: where a newer record ended before an older one, those who know both
// and those who know the older one would never agree. A heartbeat comes every BeatEvery; three may be
// lost before its proxy counts as silent.
const (
	MaxLife   = 24 * time.Hour
	BeatLife  = 40 * time.Second
	BeatEvery = 10 * time.Second
)

// MaxSkew is how far a record may be issued in the future: clocks differ.
const MaxSkew = 5 * time.Minute

const prefix = "p2prc-record-v1"

// Kind is what a record is about.
type Kind string

// The kinds of record. Any other stays out.
const (
	KindClaim     Kind = "claim"     // a node: this address leads to me
	KindDomain    Kind = "domain"    // a node: this domain leads to me, at that address
	KindDown      Kind = "down"      // a node or its proxy: that claim does not work now
	KindProxy     Kind = "proxy"     // a reverse proxy: this is what I lend
	KindHeartbeat Kind = "heartbeat" // a reverse proxy: I am still here
	KindGone      Kind = "gone"      // an owner: I take that record back
)

// Hash identifies the bytes of a record, Key the owner and subject of one: the
// first 128 bits of a SHA-256.
type (
	Hash [16]byte
	Key  [16]byte
)

// Record is a record that is in order by itself; Verify says whether it is
// signed. It is never changed: anyone may keep and share it.
type Record struct {
	Owner   identity.ID
	Subject Subject
	Serial  uint64
	Issued  time.Time // in whole seconds, like Expires
	Expires time.Time
	Body    Body

	raw  string
	hash Hash
	key  Key
}

// Body is what a kind says: *Claim, *Down, *Proxy, *Heartbeat or *Gone.
type Body interface {
	kind() Kind
	subject() Subject
	fields() []field
	// entitled says why the owner may not say this.
	entitled(r *Record) error
	// same tells whether another body says nothing new beside this one.
	same(other Body) bool
}

// Kind is the record's kind.
func (r *Record) Kind() Kind { return r.Body.kind() }

// Raw is the bytes that were signed and the signature, as they travel.
func (r *Record) Raw() string { return r.raw }

// Hash identifies these bytes.
func (r *Record) Hash() Hash { return r.hash }

// Key identifies the owner and subject.
func (r *Record) Key() Key { return r.key }

// KeyOf is the Key of an owner's subject.
func KeyOf(owner identity.ID, s Subject) Key {
	var buf [256]byte
	b := append(buf[:0], owner...)
	b = append(b, '\n')
	sum := sha256.Sum256(append(b, s...))
	return Key(sum[:len(Key{})])
}

// Live tells whether the record holds at that time.
func (r *Record) Live(now time.Time) bool { return now.Before(r.Expires) }

// Parse reads a record and checks everything but the clock and the
// signatures. Only one spelling of a record is accepted.
func Parse(raw []byte) (*Record, error) {
	if len(raw) > MaxSize || len(raw) <= ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: %d bytes is no length for one", ErrMalformed, len(raw))
	}
	r, err := parse(string(raw))
	if errors.Is(err, ErrUnknownKind) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

func parse(raw string) (*Record, error) {
	r := &Record{raw: raw}
	msg := r.message()
	if err := printableLines(msg); err != nil {
		return nil, err
	}
	var head [8]string
	rest := msg
	for i := range head {
		var ok bool
		if head[i], rest, ok = strings.Cut(rest, "\n"); !ok {
			return nil, fmt.Errorf("it has %d lines, at least %d belong there", i, len(head))
		}
	}
	if head[0] != prefix {
		return nil, fmt.Errorf("it does not begin with %s", prefix)
	}
	var err error
	if r.Owner, err = identity.ParseID(head[2]); err != nil {
		return nil, err
	}
	public, err := decodeKey(head[3])
	if err != nil {
		return nil, err
	}
	if identity.IDOf(public) != r.Owner {
		return nil, fmt.Errorf("its key is not that of node %s", r.Owner.Short())
	}
	if r.Serial, err = decodeUint(head[5], 64); err != nil {
		return nil, fmt.Errorf("serial: %w", err)
	}
	if r.Issued, err = decodeTime(head[6]); err != nil {
		return nil, err
	}
	if r.Expires, err = decodeTime(head[7]); err != nil {
		return nil, err
	}
	if err := r.read(Kind(head[1]), Subject(head[4]), rest); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(raw))
	r.hash = Hash(sum[:len(r.hash)])
	r.key = KeyOf(r.Owner, r.Subject)
	return r, nil
}

// read takes in what the kind says, and checks it against what stands above it.
func (r *Record) read(k Kind, s Subject, lines string) error {
	in, err := cutFields(lines)
	if err != nil {
		return err
	}
	switch k {
	case KindClaim, KindDomain:
		r.Body = readClaim(s, in)
	case KindDown:
		r.Body = readDown(s, in)
	case KindProxy:
		r.Body = readProxy(in)
	case KindHeartbeat:
		r.Body = readHeartbeat(in)
	case KindGone:
		r.Body, in.err = readGone(s)
	default:
		return fmt.Errorf("%w: %.80q", ErrUnknownKind, string(k))
	}
	if in.err != nil {
		return in.err
	}
	if r.Body.kind() != k {
		return fmt.Errorf("a %s that calls itself a %s", r.Body.kind(), k)
	}
	if r.Body.subject() != s {
		return fmt.Errorf("a %s about %q", k, string(s))
	}
	r.Subject = s
	if err := r.Body.entitled(r); err != nil {
		return err
	}
	if want := endOf(r.Body, r.Issued); !r.Expires.Equal(want) || !want.After(r.Issued) {
		return fmt.Errorf("a %s of %s that holds until %s", k, encodeTime(r.Issued), encodeTime(r.Expires))
	}
	return nil
}

// endOf is when a record of that body expires.
func endOf(b Body, issued time.Time) time.Time {
	switch b := b.(type) {
	case *Heartbeat:
		return issued.Add(BeatLife)
	case *Claim:
		if end := b.lease.Until; end.Before(issued.Add(MaxLife)) {
			return end
		}
	}
	return issued.Add(MaxLife)
}

func (r *Record) message() string   { return r.raw[:len(r.raw)-ed25519.SignatureSize] }
func (r *Record) signature() string { return r.raw[len(r.raw)-ed25519.SignatureSize:] }

// PublicKey is the owner's key, which the record carries.
func (r *Record) PublicKey() ed25519.PublicKey {
	line := strings.SplitN(r.raw, "\n", 5)[3]
	key, _ := decodeKey(line) // it was read once
	return key
}

// Verify checks the signatures: the owner's, and that of the reverse proxy
// below the lease in a claim.
func (r *Record) Verify() error {
	if err := r.verifyOwner(); err != nil {
		return err
	}
	if c, ok := r.Body.(*Claim); ok {
		return c.verifyLease()
	}
	return nil
}

func (r *Record) verifyOwner() error {
	if err := identity.Verify(r.Owner, r.PublicKey(), []byte(r.message()), []byte(r.signature())); err != nil {
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	return nil
}

// encode is the message of a record, ready to be signed.
func encode(owner identity.ID, public ed25519.PublicKey, serial uint64, issued, expires time.Time, b Body) []byte {
	msg := make([]byte, 0, 1024)
	for _, s := range []string{
		prefix, string(b.kind()), string(owner), encodeKey(public), string(b.subject()),
		strconv.FormatUint(serial, 10), encodeTime(issued), encodeTime(expires),
	} {
		msg = append(msg, s...)
		msg = append(msg, '\n')
	}
	for _, f := range b.fields() {
		msg = append(msg, f.name...)
		msg = append(msg, ' ')
		msg = append(msg, f.value...)
		msg = append(msg, '\n')
	}
	return msg
}

// newer is the order of two records of one owner and subject: the higher serial
// holds. An owner that signs two under one serial lies to somebody; that
// everybody comes to believe the same one is all that can be done.
func newer(a, b *Record) bool {
	if a.Serial != b.Serial {
		return a.Serial > b.Serial
	}
	return a.raw > b.raw
}

// number is the hash as the digest adds it up.
func (h Hash) number() (hi, lo uint64) {
	return binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])
}

var b64 = base64.RawStdEncoding.Strict()

func encodeKey(k ed25519.PublicKey) string { return b64.EncodeToString(k) }

func decodeKey(s string) (ed25519.PublicKey, error) {
	b, err := b64.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, errors.New("its public key is none")
	}
	return b, nil
}
