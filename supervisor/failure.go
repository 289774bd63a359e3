package supervisor

import "fmt"

// Kind is why a role could not do its work; cmd/p2prc gives each its exit code.
type Kind int

// The kinds of failure. Other is what has no code of its own.
const (
	Other Kind = iota
	BadUsage
	StateUnusable    // state directory or table
	FRPUnusable      // missing, not executable or too old
	ProxyUnreachable // no answer, or no p2prc there
	Refused          // pin, token, quota, knock
	NoPort           // none to be had, or the asked one is taken
	NotReachable     // granted, but nobody outside gets through
	NothingListens   // on the local port
	ChildDying
	StateHeld // by another p2prc
	TimedOut  // waiting for something that may yet come
)

// kindNames are the kinds as the control socket spells them.
var kindNames = map[Kind]string{
	Other: "other", BadUsage: "usage", StateUnusable: "state", FRPUnusable: "frp", ProxyUnreachable: "proxy-unreachable",
	Refused: "refused", NoPort: "no-port", NotReachable: "not-reachable", NothingListens: "nothing-listens",
	ChildDying: "child-dying", StateHeld: "state-held", TimedOut: "timed-out",
}

func (k Kind) String() string { return kindNames[k] }

// kindOf is the kind of that name, Other where a newer p2prc has more of them.
func kindOf(name string) Kind {
	for k, n := range kindNames {
		if n == name {
			return k
		}
	}
	return Other
}

// Failure is an error with a way out. Error gives the cause without the hint.
type Failure struct {
	Kind Kind
	Err  error
	Hint string // one line: what to do now; may be empty
}

func (f *Failure) Error() string { return f.Err.Error() }

func (f *Failure) Unwrap() error { return f.Err }

func fail(k Kind, hint, format string, args ...any) *Failure {
	return &Failure{Kind: k, Err: fmt.Errorf(format, args...), Hint: hint}
}
