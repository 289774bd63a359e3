package child

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Kind is why a child ended.
type Kind int

// The kinds of ends. Unknown is everything that frp says and p2prc has no rule
// for.
const (
	Unknown          Kind = iota
	Ended                 // by itself without an error: somebody used its API
	Killed                // by a signal
	Crashed               // a Go panic
	BadConfig             // frp refuses its config file
	TooOldFRP             // it does not know an option or a setting
	PortTaken             // another process holds Verdict.Port
	NotPermitted          // to listen on Verdict.Port
	NoAddress             // the address to listen on is not one of this host
	Unreachable           // frps could not be dialled
	HungUp                // frps, or whoever answers there, closed the connection: a wrong certificate, perhaps
	GateDown              // frps could not ask its p2prc
	WrongToken            // frps has another token
	WrongCertificate      // frps has another certificate
	Refused               // by the proxy's p2prc, whose words are Verdict.Line
)

// Verdict is what an Exit means.
type Verdict struct {
	Kind Kind
	// Permanent: another start ends the same way, until somebody changes
	// something.
	Permanent bool
	Port      uint16 // of PortTaken and NotPermitted
	Reason    string // in plain words
	Line      string // frp's own last error line, for whoever knows frp; may be empty
}

// rule matches the error that frp ends with.
type rule struct {
	kind      Kind
	permanent bool
	match     *regexp.Regexp
	reason    string
}

// What frps and frpc print last when they end with code 1, tried with 0.61.0,
// 0.65.0 and 0.70.1 (classify_frp_linux_test.go). First match wins.
var fatalRules = []rule{
	{
		TooOldFRP, true, regexp.MustCompile(`^Error: unknown (shorthand )?flag|json: unknown field `),
		"this release of frp does not know an option or a setting that it was given",
	},
	{
		NoAddress, false, regexp.MustCompile(`bind: (cannot assign requested address|can't assign|The requested address is not valid)`),
		"the address to listen on does not belong to this host",
	},
	{
		BadConfig, true, regexp.MustCompile(`^(json|toml|yaml|template): |unmarshal|unknown (proxy|visitor|plugin) type|must be in the range|optional values are|is duplicated|^invalid |should not be|must be specified|^(open|read|stat) .*(no such file|cannot find|is a directory|permission denied)`),
		"its configuration is not valid",
	},
}

// What stands behind "login to the server failed: ". Only what was written into
// the config is permanent: the rest may be another story in a minute. They are
// anchored, for the last one's words are p2prc's and may contain any other's.
var loginRules = []rule{
	{
		GateDown, false, regexp.MustCompile(`^send Login request to plugin error`),
		"the reverse proxy's p2prc does not answer its frps",
	},
	{
		WrongToken, false, regexp.MustCompile(`^token in login doesn't match`),
		"the reverse proxy has another frp token",
	},
	{
		WrongCertificate, false, regexp.MustCompile(`^(remote error: )?(tls|x509): `),
		"the reverse proxy's frps does not show the expected certificate",
	},
	{
		BadConfig, true, regexp.MustCompile(`^open .*(no such file|cannot find|permission denied|Access is denied)`),
		"its configuration names a file that cannot be read",
	},
	{
		Unreachable, false, regexp.MustCompile(`^(dial|lookup) `),
		"the reverse proxy's frps cannot be reached",
	},
	// Also what a wrong certificate looks like: 0.61.0 and 0.65.0 always say
	// "session shutdown" then, 0.70.1 five times out of eight.
	{
		HungUp, false, regexp.MustCompile(`^((unexpected )?EOF|stream (closed|reset)|session shutdown|i/o deadline reached|(keepalive|connection write) timeout|context deadline exceeded|(read|write) (tcp|udp) .*)$`),
		"the reverse proxy's frps closed the connection during the login",
	},
	{Refused, false, regexp.MustCompile(``), "the reverse proxy refused the login"},
}

var (
	// frp's log lines begin so; the error it ends with does not.
	logLine = regexp.MustCompile(`^\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[([TDIWE])\] (?:\[[^\]]*\] )?`)
	login   = regexp.MustCompile(`^login to the server failed: (.*?)(?:\. With loginFailExit enabled, no additional retries will be attempted)?$`)
	bind    = regexp.MustCompile(`listen \S+ \S*:(\d+): bind: (.*)$`)
	taken   = regexp.MustCompile(`address already in use|Only one usage of each socket address`)
	denied  = regexp.MustCompile(`permission denied|forbidden by its access permissions`)
	panics  = regexp.MustCompile(`^(panic|fatal error): `)
)

// Classify says what an Exit means. frp ends with code 1 for every error of its
// own, so the last line of its output decides.
func Classify(e Exit) Verdict {
	switch {
	case e.Known && e.Signal != 0:
		return Verdict{Kind: Killed, Reason: e.String()}
	case e.Known && e.Code == 0:
		return Verdict{Kind: Ended, Reason: e.String()}
	}
	v := classifyTail(e.Tail)
	if v.Kind == Unknown {
		why := v.Reason
		if v.Reason = e.String(); why != "" {
			v.Reason += ": " + why
		}
		if e.Known && e.Code == 2 { // what the Go runtime ends with
			v.Kind = Crashed
		}
	}
	// An adopted child's log may end with an old story: too little for good-bye.
	v.Permanent = v.Permanent && e.Known
	return v
}

func classifyTail(tail []string) Verdict {
	line, fatal := lastError(tail)
	if panics.MatchString(line) {
		return Verdict{Kind: Crashed, Reason: "it crashed", Line: line}
	}
	if !fatal {
		return Verdict{Line: line}
	}
	if m := login.FindStringSubmatch(line); m != nil {
		return firstMatch(loginRules, m[1])
	}
	if m := bind.FindStringSubmatch(line); m != nil {
		port, err := strconv.ParseUint(m[1], 10, 16)
		switch {
		case err != nil:
		case taken.MatchString(m[2]):
			reason := fmt.Sprintf("port %d is in use by another program", port)
			return Verdict{PortTaken, true, uint16(port), reason, line}
		case denied.MatchString(m[2]):
			reason := fmt.Sprintf("it may not listen on port %d", port)
			return Verdict{NotPermitted, true, uint16(port), reason, line}
		}
	}
	return firstMatch(fatalRules, line)
}

func firstMatch(rules []rule, line string) Verdict {
	for _, r := range rules {
		if r.match.MatchString(line) {
			return Verdict{Kind: r.kind, Permanent: r.permanent, Reason: r.reason, Line: line}
		}
	}
	return Verdict{Reason: line, Line: line} // its last words: all there is
}

// lastError finds the line that says why. fatal: it is the error that frp
// printed as its last word, not one of its log.
func lastError(tail []string) (line string, fatal bool) {
	for _, l := range tail {
		if panics.MatchString(l) || strings.HasPrefix(l, "Error: ") { // a usage or a trace follows
			return l, true
		}
	}
	for i := len(tail) - 1; i >= 0; i-- {
		m := logLine.FindStringSubmatch(tail[i])
		switch {
		case m == nil && i == len(tail)-1:
			return tail[i], true
		case m != nil && strings.Contains("WE", m[1]):
			return strings.TrimPrefix(tail[i], m[0]), false
		}
	}
	return "", false
}
