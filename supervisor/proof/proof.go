// Package proof asks the world whether a port is really there: a guard and its
// witness prove that a port of a reverse proxy can be dialled from outside
// before anything is opened on it, a canary proves that a tunnel leads to this
// node and back, and Services says whether something listens where a mapping
// leads. No byte is ever sent to a user's service.
//
// Not here: what frp says of itself (admin), who may have a port
// (tables/lease), and what a row says in the end (supervisor).
//
// Both exchanges look the same over TCP and in one UDP datagram, and an answer
// is never longer than its question, so that nobody can be flooded with it:
//
//	canary  "\x00p2prc\x01C", nonce[32]             ->  HMAC-SHA256(secret, nonce)
//	guard   "\x00p2prc\x01G", lease[16], nonce[32]  ->  HMAC-SHA256(guard key, lease, nonce)
//
// where lease is the start of the SHA-256 of the lease ID.
package proof

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"time"
)

const (
	canaryMagic = "\x00p2prc\x01C"
	guardMagic  = "\x00p2prc\x01G"
	magicLen    = len(canaryMagic)
	leaseLen    = 16
	nonceLen    = 32
	answerLen   = sha256.Size

	canaryLen = magicLen + nonceLen
	guardLen  = magicLen + leaseLen + nonceLen
)

// strangerWait is how long a connection may take to ask.
const strangerWait = 5 * time.Second

// Key is a secret shared by the two ends of a proof. It prints as [hidden].
type Key []byte

const hidden = "[hidden]"

func (Key) String() string       { return hidden }
func (Key) GoString() string     { return hidden }
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format keeps every verb, %x too, from showing the key.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// sum is the answer that only who knows the key can give.
func (k Key) sum(msg []byte) []byte {
	m := hmac.New(sha256.New, k)
	m.Write(msg)
	return m.Sum(nil)
}

func newNonce() []byte {
	b := make([]byte, nonceLen)
	rand.Read(b) // never fails
	return b
}

// answerer gives the answer to a question, nil to anything else.
type answerer func(question []byte) []byte
