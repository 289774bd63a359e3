package admin

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRefusal(t *testing.T) {
	tests := []struct {
		text string
		want error
	}{
		{"port already used", ErrPortUsed},
		{"port unavailable", ErrPortTaken},
		{"no available port", ErrPortTaken},
		{"acquire port 20009 error: port already used", ErrPortUsed},
		{"acquire port 20009 error: port unavailable", ErrPortTaken},
		{"acquire port 20009 error: port not allowed", ErrPortNotAllowed},
		{"listen tcp 0.0.0.0:20000: bind: address already in use", ErrPortTaken},
		{"listen udp :20000: bind: address already in use", ErrPortTaken},
		{"listen tcp 0.0.0.0:20000: bind: Only one usage of each socket address (protocol/network address/port) is normally permitted.", ErrPortTaken},
		{"port not allowed", ErrPortNotAllowed},
		{"exceed the max_ports_per_client", ErrQuota},
		{"proxy [node.web] already exists", ErrNameTaken},
		{"send NewProxy request to plugin error", ErrGateDown},
		{"lease expired (p2prc)", ErrRefused},
		{"proxy [node.web] is not yours", ErrRefused},
		{"the lease of port 20000 has ended", ErrRefused},
		{"router config conflict", ErrDomainUsed},
		{"", ErrRefused},
	}
	kinds := []error{ErrPortTaken, ErrPortUsed, ErrDomainUsed, ErrPortNotAllowed, ErrQuota, ErrNameTaken, ErrGateDown, ErrRefused}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			err := Proxy{Phase: StartError, Err: test.text}.Refusal()
			for _, kind := range kinds {
				if errors.Is(err, kind) != (kind == test.want) {
					t.Errorf("is %q: %v", kind, errors.Is(err, kind))
				}
			}
			if err.Error() != test.text {
				t.Errorf("Error = %q, want the text as it came", err)
			}
		})
	}
	for _, phase := range []Phase{New, WaitStart, Running, CheckFailed, Closed} {
		if err := (Proxy{Phase: phase, Err: "port unavailable"}).Refusal(); err != nil {
			t.Errorf("%s: %v", phase, err)
		}
	}
}

func TestRemotePort(t *testing.T) {
	for addr, want := range map[string]uint16{
		"203.0.113.7:20000":     20000,
		"proxy.example.org:443": 443,
		"2001:db8::1:20000":     20000,
		":20000":                20000,
		"":                      0,
		"203.0.113.7":           0,
		"203.0.113.7:":          0,
		"203.0.113.7:70000":     0,
		"a.test:8080,b.test":    0,
	} {
		if got := remotePort(addr); got != want {
			t.Errorf("remotePort(%q) = %d, want %d", addr, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("é\x1b[31m\n\xff", 3)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 0 {
			return
		}
		got := clean(s, max)
		if len(got) > max || !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\n\r\x00\u202e") {
			t.Errorf("clean = %q", got)
		}
	})
}
