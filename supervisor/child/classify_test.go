package child_test

import (
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"p2prc/supervisor/child"
)

// What cannot be had from a real frp on every machine; the rest is in
// classify_frp_linux_test.go.
func TestClassify(t *testing.T) {
	const (
		logged  = "2026-11-23 09:31:34.662 [W] [client/service.go:322] [26ff8f769bd82337] start error: port unavailable"
		refused = "login to the server failed: lease expired (p2prc). With loginFailExit enabled, no additional retries will be attempted"
		taken   = "create server listener error, listen tcp 0.0.0.0:7000: bind: address already in use"
	)
	failed := func(tail ...string) child.Exit { return child.Exit{Known: true, Code: 1, Tail: tail} }
	tests := []struct {
		name string
		exit child.Exit
		want child.Verdict // without Reason
	}{
		{"nothing said", failed(), child.Verdict{Kind: child.Unknown}},
		{
			"no rule for it", failed(logged, "create nat hole controller error, x"),
			child.Verdict{Kind: child.Unknown, Line: "create nat hole controller error, x"},
		},
		{
			"only log lines", failed(logged),
			child.Verdict{Kind: child.Unknown, Line: "[26ff8f769bd82337] start error: port unavailable"},
		},
		{"info is not an error", failed("2026-11-23 09:31:34 [I] [x.go:1] stopped"), child.Verdict{Kind: child.Unknown}},
		{
			"port in the log only", failed("2026-11-23 09:31:34.662 [W] [x.go:1] new proxy [a] type [tcp] error: listen tcp :20000: bind: address already in use"),
			child.Verdict{Kind: child.Unknown, Line: "new proxy [a] type [tcp] error: listen tcp :20000: bind: address already in use"},
		},
		{
			"IPv6", failed("listen tcp [::1]:7400: bind: address already in use"),
			child.Verdict{Kind: child.PortTaken, Permanent: true, Port: 7400, Line: "listen tcp [::1]:7400: bind: address already in use"},
		},
		{
			"privileged", failed("listen tcp 0.0.0.0:443: bind: permission denied"),
			child.Verdict{Kind: child.NotPermitted, Permanent: true, Port: 443, Line: "listen tcp 0.0.0.0:443: bind: permission denied"},
		},
		{
			"Windows", failed("listen tcp 127.0.0.1:7400: bind: Only one usage of each socket address (protocol/network address/port) is normally permitted."),
			child.Verdict{
				Kind: child.PortTaken, Permanent: true, Port: 7400,
				Line: "listen tcp 127.0.0.1:7400: bind: Only one usage of each socket address (protocol/network address/port) is normally permitted.",
			},
		},
		{"gate's own words", failed(refused), child.Verdict{Kind: child.Refused, Line: "lease expired (p2prc)"}},
		{
			"gate's words are its own", failed("login to the server failed: read EOF timeout: tls: open x: no such file"),
			child.Verdict{Kind: child.Refused, Line: "read EOF timeout: tls: open x: no such file"},
		},
		{
			"black hole", failed("login to the server failed: dial tcp 203.0.113.7:7000: i/o timeout"),
			child.Verdict{Kind: child.Unreachable, Line: "dial tcp 203.0.113.7:7000: i/o timeout"},
		},
		{"killed", child.Exit{Known: true, Code: -1, Signal: syscall.SIGKILL, Tail: []string{taken}}, child.Verdict{Kind: child.Killed}},
		{"ended", child.Exit{Known: true, Tail: []string{logged}}, child.Verdict{Kind: child.Ended}},
		{
			"panic",
			child.Exit{Known: true, Code: 2, Tail: []string{"panic: oops", "", "goroutine 1 [running]:", "main.main()"}},
			child.Verdict{Kind: child.Crashed, Line: "panic: oops"},
		},
		{
			"long trace",
			child.Exit{Known: true, Code: 2, Tail: []string{"goroutine 1 [running]:", "main.main()"}},
			child.Verdict{Kind: child.Crashed, Line: "main.main()"},
		},
		{
			"adopted: never permanent",
			child.Exit{Adopted: true, Tail: []string{taken}},
			child.Verdict{Kind: child.PortTaken, Port: 7000, Line: taken},
		},
		{"adopted, silent", child.Exit{Adopted: true}, child.Verdict{Kind: child.Unknown}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := child.Classify(tt.exit)
			if got.Reason == "" {
				t.Error("no reason given")
			}
			got.Reason = ""
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What frp ended with, and no rule knows, is shown as it is; what it logged
// before it ended is another story.
func TestClassify_lastWords(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"create nat hole controller error, x", "exit code 1: create nat hole controller error, x"},
		{"2026-11-23 09:31:34.662 [W] [x.go:1] start error: port unavailable", "exit code 1"},
	} {
		if got := child.Classify(child.Exit{Known: true, Code: 1, Tail: []string{tt.line}}).Reason; got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestLines(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"empty", "", nil},
		{"colours", "\x1b[1;31mred\n\x1b[0mplain\n", []string{"red", "plain"}},
		{"no newline at the end", "a\nb", []string{"a", "b"}},
		{"empty lines", "a\n\r\n \n\nb\n", []string{"a", "b"}},
		{"terminal control", "x\x1b]0;title\x07y\x08z\u202e\u200b\x00\xff", []string{"x]0;titleyz"}},
		{"tabs and letters", "a\tb ü 世\n", []string{"a b ü 世"}},
		{"long", strings.Repeat("é", 600), []string{strings.Repeat("é", 500) + "..."}},
		{"many", strings.Repeat("x\n", 150) + "last\n", append(strings.Fields(strings.Repeat("x ", 99)), "last")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, child.Lines([]byte(tt.in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("\x1b[1;31m2026-11-23 09:31:34.662 [E] [x.go:1] oops\n\x1b[0mlogin to the server failed: EOF\n"), true)
	f.Add([]byte("listen tcp :99999: bind: address already in use"), false)
	f.Add([]byte("\x1b[\x1b[m\xff\xfe\u202e"), true)
	f.Fuzz(func(t *testing.T, b []byte, known bool) {
		tail := child.Lines(b)
		for _, line := range tail {
			for _, r := range line {
				if !unicode.IsPrint(r) {
					t.Fatalf("%q in %q", r, line)
				}
			}
		}
		v := child.Classify(child.Exit{Known: known, Code: 1, Tail: tail})
		if v.Reason == "" || v.Permanent && !known {
			t.Errorf("%+v", v)
		}
	})
}
