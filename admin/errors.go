package admin

import (
	"errors"
	"strings"
	"unicode"
)

// What asking can come to. Every error of this package that is not the
// context's matches one of them.
var (
	// ErrUnavailable: nobody listens, nobody answers in time, or frp says that
	// it cannot now. Asking again may help.
	ErrUnavailable = errors.New("no answer from frp")
	// ErrNotOurs: something answers that is not the child that was started with
	// this password. Nothing that it says counts.
	ErrNotOurs = errors.New("not the frp that was started")
	// ErrNotFound: frps has never run a proxy of this name since it started.
	ErrNotFound = errors.New("frps knows no such proxy")
	// ErrBadConfig: frpc refuses the file and goes on with what it had.
	ErrBadConfig = errors.New("frpc refuses its configuration")
)

// Why frps did not open a port; see Proxy.Refusal.
var (
	// ErrPortTaken: by another process. Another port may do.
	ErrPortTaken = errors.New("port taken")
	// ErrPortUsed: by another proxy of this frps, maybe one of a session that frps
	// does not know to be dead yet. Then it passes.
	ErrPortUsed = errors.New("port used by frps")
	// ErrDomainUsed: by another proxy of this frps, as with ErrPortUsed.
	ErrDomainUsed = errors.New("domain used by frps")
	// ErrPortNotAllowed: outside frps's allowPorts.
	ErrPortNotAllowed = errors.New("port not allowed")
	// ErrQuota: more than frps's maxPortsPerClient.
	ErrQuota = errors.New("too many ports")
	// ErrNameTaken: by another session, maybe one that frps does not know to be
	// dead yet. It passes.
	ErrNameTaken = errors.New("proxy name taken")
	// ErrGateDown: frps could not ask the gate. It passes.
	ErrGateDown = errors.New("the gate does not answer")
	// ErrRefused: any other reason, in practice the gate's own words.
	ErrRefused = errors.New("refused")
)

// refusal is frps's reason for a no: its text as it came, and its kind.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

// classify names the kind of a reason. The texts are those of frps, the same
// from 0.52 to 0.70.1; for UDP `acquire port N error: ` stands before them.
func classify(text string) error {
	kind := ErrRefused
	switch {
	case strings.HasSuffix(text, "port already used"): // by a proxy of frps
		kind = ErrPortUsed
	case text == "router config conflict":
		kind = ErrDomainUsed
	case strings.HasSuffix(text, "port unavailable"), // by another process or by frps itself, or privileged
		strings.HasSuffix(text, "no available port"), // none left of those that frps picks from
		isBindError(text):
		kind = ErrPortTaken
	case strings.HasSuffix(text, "port not allowed"):
		kind = ErrPortNotAllowed
	case text == "exceed the max_ports_per_client":
		kind = ErrQuota
	case strings.HasPrefix(text, "proxy [") && strings.HasSuffix(text, "] already exists"):
		kind = ErrNameTaken
	case text == "send NewProxy request to plugin error":
		kind = ErrGateDown
	}
	return &refusal{kind, text}
}

// isBindError: frps tries a port, lets it go and binds it again. Who takes it
// in between leaves the words of the operating system.
func isBindError(text string) bool {
	return (strings.HasPrefix(text, "listen tcp ") || strings.HasPrefix(text, "listen udp ")) &&
		strings.Contains(text, ": bind: ")
}

// clean makes words of a stranger fit for one line of a log or a message of
// frp: printable, and not longer than max bytes.
func clean(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, " "))
	s = strings.TrimSpace(s)
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "")
	}
	return s
}
