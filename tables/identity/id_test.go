package identity_test

import (
	"testing"

	"pgregory.net/rapid"

	"p2prc/tables/identity"
)

func TestParseID(t *testing.T) {
	good := string(identity.NewKey().ID())
	for _, tt := range []struct {
		name, in string
		ok       bool
	}{
		{"an ID", good, true},
		{"empty", "", false},
		{"short", good[1:], false},
		{"long", good + "a", false},
		{"upper case", "A" + good[1:], false},
		{"a digit outside base32", "1" + good[1:], false},
		{"a line break inside", good[:16] + "\n" + good[16:], false},
		{"a line break at the end", good + "\n", false},
		{"a line break for a character", good[:31] + "\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := identity.ParseID(tt.in)
			if (err == nil) != tt.ok {
				t.Fatalf("ParseID(%q) = %q, %v", tt.in, id, err)
			}
			if tt.ok && string(id) != tt.in {
				t.Errorf("ParseID(%q) = %q", tt.in, id)
			}
		})
	}
}

func TestID_oneNodeOneSpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-z2-7\n\r=]{30,34}`).Draw(t, "s")
		id, err := identity.ParseID(s)
		if err == nil && (len(s) != 32 || string(id) != s) {
			t.Fatalf("%q read as %q", s, id)
		}
	})
}

func TestShort_ofAnything(t *testing.T) {
	if got := identity.ID("abc").Short(); got != "abc" {
		t.Errorf("Short = %q", got)
	}
	if got := identity.ID("").Short(); got != "" {
		t.Errorf("Short = %q", got)
	}
}
