// Package admin asks running frps and frpc what is so, over their admin HTTP
// APIs, and speaks the wire format of the gate that frps asks. Not here: what
// they are told to do (frpconf), starting them (supervisor/child), and whether
// a mapping works (supervisor): frpc's "running" is no proof.
//
// Everything is stock frp from 0.61.0 on; the answers of three versions are
// kept in testdata/frp, and the tests compare them with real ones.
package admin

import (
	"fmt"
	"log/slog"
	"net/netip"
)

// Endpoint is where the admin API of one frps or frpc listens, and what it
// wants to be told.
type Endpoint struct {
	Addr     netip.AddrPort
	User     string
	Password Secret
}

// Secret is a string that never prints; string(s) is its value.
type Secret string

const hidden = "[hidden]"

// Format hides the secret from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

func (s Secret) String() string { return hidden }

// MarshalText hides the secret from encoders, JSON logs among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the secret from package slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
