package tables

import (
	"strings"
	"testing"
	"unicode/utf8"

	"p2prc/tables/identity"
)

func TestCheckDomain(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, s := range []string{"app.example.org", "a.b", "xn--bcher-kva.example", "1.example.org", label + ".org", string(identity.ID("abc")) + ".p2prc.invalid"} {
		if err := CheckDomain(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "localhost", ".", "a.", ".a", "a..b", "*.example.org", "App.example.org", "a_b.example.org", "-a.example.org", "a-.example.org",
		"203.0.113.7", "a.1", label + "a.org", strings.Repeat("a.", 126) + "aa", "a.b:80", "a.b/c", "a b.org", "{{.Envs.HOME}}.org", "a\n.org", "bücher.example",
	} {
		err := CheckDomain(s)
		if err == nil {
			t.Errorf("%q is taken for a domain", s)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q carries control characters", err)
		}
	}
	if err := CheckDomainOf(TCP, "a.example.org"); err == nil {
		t.Error("a TCP mapping has a domain")
	}
	if err := CheckDomainOf(HTTP, ""); err == nil {
		t.Error("an HTTP mapping has no domain")
	}
}

func TestCanaryDomain(t *testing.T) {
	own := CanaryDomain("abcdefghijklmnopqrstuvwxyz234567")
	if err := CheckDomain(own); err != nil || !IsCanaryDomain(own) {
		t.Errorf("%s: %v", own, err)
	}
	if IsCanaryDomain("xp2prc.invalid") || IsCanaryDomain("p2prc.invalid.example.org") || !IsCanaryDomain("p2prc.invalid") {
		t.Error("the wrong domains are for proofs")
	}
}

// FuzzCheckDomain: what passes can stand anywhere as it is.
func FuzzCheckDomain(f *testing.F) {
	f.Add("app.example.org")
	f.Add("*.a")
	f.Fuzz(func(t *testing.T, s string) {
		err := CheckDomain(s)
		if err == nil && (len(s) > 253 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.ToLower(s) != s) {
			t.Errorf("%q passes", s)
		}
		if err != nil && (!utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("unfit for a terminal: %q", err)
		}
	})
}
