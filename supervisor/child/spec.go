package child

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Spec describes a child: what to run and how to find it again.
type Spec struct {
	Name    string   // "frps" or "frpc", for messages and the run file
	Path    string   // of the binary, absolute: see Lookup
	Args    []string // never a secret: every local user can read them
	Dir     string   // working directory; empty: p2prc's own
	Env     []string // "KEY=value", on top of PATH and HOME, which is all a child inherits
	RunFile string   // absolute, in a directory that only the user can write
	LogFile string   // gets stdout and stderr; the run before is kept beside it as .1
	Admin   Admin    // where the child's own HTTP API listens

	// Common and Mappings are hashes of the two parts of the child's config,
	// so that a later p2prc knows whether to reload or to replace the child.
	Common, Mappings string
	// Extra is the owner's own: it comes back unchanged in Run.
	Extra json.RawMessage

	// Stop asks the child through its API to end and returns once it has been
	// told, or when ctx ends. It gets the Admin of the run, which for an adopted
	// child is not the one above. Nil: there is no such way (frps).
	Stop func(ctx context.Context, at Admin) error
	// Grace is how long each polite way to end may take. Zero: 5 s.
	Grace time.Duration
	Log   *slog.Logger // nil: silent
}

// Admin is where a child's own HTTP API listens.
type Admin struct {
	Addr     netip.AddrPort `json:"addr"`
	User     string         `json:"user"`
	Password Secret         `json:"password"`
}

// Secret is a string that never prints; string(s) is its value. In the run
// file, which only the user can read, it stands as it is.
type Secret string

const hidden = "[hidden]"

// Format hides the secret from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

func (s Secret) String() string { return hidden }

// LogValue hides the secret from package slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format prints the name and the path only: Env and Extra may hold secrets.
func (s Spec) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s (%s)", s.Name, s.Path) }

// LogValue is the Spec in a log, without its secrets.
func (s Spec) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// defaultGrace is ample: frpc is gone 0.11 s after POST /api/stop, frps and
// frpc 1-8 ms after SIGTERM (0.61.0, 0.65.0, 0.70.1).
const defaultGrace = 5 * time.Second

func (s Spec) checked() (Spec, error) {
	for _, p := range []string{s.Path, s.RunFile, s.LogFile} {
		if !filepath.IsAbs(p) {
			return s, fmt.Errorf("starting %s: %q is not an absolute path", s.Name, p)
		}
	}
	if s.Grace <= 0 {
		s.Grace = defaultGrace
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// environ is the child's whole environment. It is built up, not filtered: frp's
// template layer can read every variable, and a lower-case http_proxy sends
// frpc's connection elsewhere.
func (s Spec) environ(nonce string) []string {
	return slices.Concat(baseEnv(), s.Env, []string{nonceKey + "=" + nonce})
}

func baseEnv() []string {
	var env []string
	for _, key := range inherited {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	return env
}
