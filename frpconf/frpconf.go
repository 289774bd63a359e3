// Package frpconf writes the files that stock frps and frpc read. Not here:
// asking a running frp (admin), starting it (supervisor/child).
//
// Only keys that frp 0.61.0 knows are written: from 0.55 on frp refuses a file
// with a key it does not know. Every choice that is not a field is fixed on
// purpose:
//
//   - TLS is forced, and frpc pins the certificate: by default stock frpc
//     checks nothing (0.65.0, 0.70.1).
//   - The token is asked for again on each work connection and heartbeat.
//     Without that, a client that knew only a run ID got 3 of 4 of another
//     node's connections (0.65.0, 0.70.1).
//   - Both admin servers need a loopback address and a password: frp asks for
//     none when user and password are empty.
//   - frp logs from "warn" on: each call of the admin API costs two lines of
//     "info" (0.61.0-0.70.1).
package frpconf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/pelletier/go-toml/v2"
)

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

// encode writes v as TOML that survives frp's template engine: frp runs
// text/template over the whole file before it parses it, comments and strings
// included (0.52-0.70.1), so a "{{" from outside would be read as code. Each
// one becomes an action that prints it. A "}}" outside an action is plain text.
func encode(v any) ([]byte, error) {
	text, err := toml.Marshal(v)
	if err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(text, []byte("{{"), []byte(`{{"{{"}}`)), nil
}

// fingerprint tells whether two parts of a file mean the same. It is taken from
// the values and not from the TOML, whose layout is the library's to change:
// an upgrade of p2prc must not replace a child for a space.
func fingerprint(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
