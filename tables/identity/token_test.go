package identity_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"p2prc/tables/identity"
)

func TestParseToken(t *testing.T) {
	for _, tt := range []struct {
		name, in, refusal string
	}{
		{"empty", "", "empty"},
		{"blank", strings.Repeat(" ", 40), "without spaces"},
		{"a word", "password", "128 bit"},
		{"hex, 124 bit", "0f1e2d3c4b5a69788796a5b4c3d2e1f", "128 bit"},
		{"hex, 128 bit", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", ""},
		{"upper hex, 128 bit", "0F1E2D3C4B5A69788796A5B4C3D2E1F0", ""},
		{"base32, 125 bit", "mfrggzdfmztwq2lknnwg23tpo", "128 bit"},
		{"base32, 130 bit", "mfrggzdfmztwq2lknnwg23tpob", ""},
		{"base64url, 126 bit", "Zx9_Qm-7LkPw2VtRs8NcJ", "128 bit"},
		{"base64url, 132 bit", "Zx9_Qm-7LkPw2VtRs8NcJd", ""},
		{"base64 with padding", "q83vASNFZ4mrze8BI0VniQ+/xw==", ""},
		{"digits, 38", "31415926535897932384626433832795028841", "128 bit"},
		{"digits, 39", "314159265358979323846264338327950288419", ""},
		{"UUID: 32 hex digits and dashes", "550e8400-e29b-41d4-a716-446655440001", ""},
		{"UUID cut short", "550e8400-e29b-41d4-a716-44665544000", "128 bit"},
		{"dashes only", strings.Repeat("-", 64), "128 bit"},
		{"one character", strings.Repeat("a", 64), "128 bit"},
		{"two characters", "abababbbabaabbbabaabababbbabaabbaba", "different"},
		{"a short block again and again", strings.Repeat("Tr0ub4dor", 4), "128 bit"},
		{"a long block twice", strings.Repeat("mfrggzdfmztwq2lknnwg23tpob", 2), ""},
		{"too long", strings.Repeat("0f1e2d3c4b5a69788796a5b4c3d2e1f0x", 8), "longer than"},
		{"a space", "mfrggzdfmztwq2lk nnwg23tpob4xyz", "without spaces"},
		{"a line break", "mfrggzdfmztwq2lknnwg23tpob4xyz\n", "without spaces"},
		{"a quote", "mfrggzdfmztwq2lknnwg23tpob'4xyz", "without spaces"},
		{"a template", "{{mfrggzdfmztwq2lknnwg23tpob}}", "without spaces"},
		{"not ASCII", "mfrggzdfmztwq2lknnwg23tpobäöüß", "without spaces"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tok, err := identity.ParseToken(tt.in)
			if tt.refusal == "" {
				if err != nil || tok.Reveal() != tt.in {
					t.Fatalf("got %q, %v", tok.Reveal(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.refusal) {
				t.Fatalf("error %v, want %q", err, tt.refusal)
			}
			if !tok.Zero() {
				t.Error("a refused token is not zero")
			}
			if len(tt.in) > 6 && strings.Contains(err.Error(), tt.in) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

func TestNewToken(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		tok := identity.NewToken()
		if len(tok.Reveal()) != 32 || seen[tok.Reveal()] {
			t.Fatalf("token of %d characters, seen before: %t", len(tok.Reveal()), seen[tok.Reveal()])
		}
		seen[tok.Reveal()] = true
		again, err := identity.ParseToken(tok.Reveal())
		if err != nil || !again.Equal(tok) {
			t.Fatalf("a new token is refused: %v", err)
		}
	}
}

func TestToken_Equal(t *testing.T) {
	a, b := identity.NewToken(), identity.NewToken()
	if a.Equal(b) || a.Equal(identity.Token{}) || (identity.Token{}).Equal(a) {
		t.Error("different tokens are equal")
	}
	if !a.Equal(a) || !(identity.Token{}).Equal(identity.Token{}) {
		t.Error("a token differs from itself")
	}
	if !(identity.Token{}).Zero() || a.Zero() {
		t.Error("Zero is wrong")
	}
}

func TestToken_file(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	tok := identity.NewToken()
	if err := tok.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := identity.LoadToken(path)
	if err != nil || !got.Equal(tok) {
		t.Fatalf("read back: %v", err)
	}
	if err := (identity.Token{}).Save(path); err == nil {
		t.Error("an empty token was saved over a good one")
	}
	if err := os.WriteFile(path, []byte("short\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.LoadToken(path); err == nil || strings.Contains(err.Error(), "short\r") {
		t.Errorf("error %v", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.LoadToken(path); err == nil || !strings.Contains(err.Error(), "chmod 600 ") {
		t.Errorf("error %v, want a chmod hint", err)
	}
}

func TestJoinProof(t *testing.T) {
	tok, other := identity.NewToken(), identity.NewToken()
	ex := []byte("01234567890123456789012345678901")
	proof := identity.JoinProof(tok, ex, identity.JoinClient)
	for _, tt := range []struct {
		name string
		got  bool
		want bool
	}{
		{"right", identity.CheckJoinProof(tok, ex, identity.JoinClient, proof), true},
		{"sent back", identity.CheckJoinProof(tok, ex, identity.JoinServer, proof), false},
		{"other token", identity.CheckJoinProof(other, ex, identity.JoinClient, proof), false},
		{"other connection", identity.CheckJoinProof(tok, append([]byte("x"), ex[1:]...), identity.JoinClient, proof), false},
		{"cut short", identity.CheckJoinProof(tok, ex, identity.JoinClient, proof[:31]), false},
		{"empty", identity.CheckJoinProof(tok, ex, identity.JoinClient, nil), false},
		{"no token at all", identity.CheckJoinProof(identity.Token{}, ex, identity.JoinClient,
			identity.JoinProof(identity.Token{}, ex, identity.JoinClient)), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: accepted %t", tt.name, tt.got)
		}
	}
	if len(proof) != identity.JoinProofSize {
		t.Errorf("proof of %d bytes", len(proof))
	}
}

// Whatever is accepted has the bits by the strictest of the ways to count.
func TestParseToken_bitsOfAllThatPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(
			rapid.StringMatching(`[0-9]{30,45}`), rapid.StringMatching(`[0-9a-f]{28,36}`),
			rapid.StringMatching(`[a-z2-7]{22,30}`), rapid.StringMatching(`[A-Za-z0-9_-]{18,26}`),
		).Draw(t, "s")
		if _, err := identity.ParseToken(s); err != nil {
			return
		}
		least := 22 // of 64 characters each
		switch {
		case strings.Trim(s, "0123456789") == "":
			least = 39
		case strings.Trim(s, "0123456789abcdef") == "":
			least = 32
		case strings.Trim(s, "234567abcdefghijklmnopqrstuvwxyz") == "":
			least = 26
		}
		if len(s) < least {
			t.Fatalf("%d characters were enough in %q", len(s), s)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add("mfrggzdfmztwq2lknnwg23tpob")
	f.Add("550e8400-e29b-41d4-a716-446655440001")
	f.Add("")
	f.Add(strings.Repeat("ab", 128))
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := identity.ParseToken(s)
		if (err == nil) == tok.Zero() {
			t.Fatalf("zero %t with error %v", tok.Zero(), err)
		}
		if err == nil && tok.Reveal() != s {
			t.Fatalf("%q became %q", s, tok.Reveal())
		}
		if err == nil && len(s) < 22 {
			t.Fatalf("accepted %q", s)
		}
	})
}
