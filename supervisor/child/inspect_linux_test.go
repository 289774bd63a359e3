package child

import (
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	rest := " 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0"
	tests := []struct {
		name, in string
		want     facts
		bad      bool
	}{
		{"running", "7 (frps) S" + rest, facts{start: "4711", parent: 1, session: 3}, false},
		{"zombie", "7 (frps) Z" + rest, facts{start: "4711", ended: true, parent: 1, session: 3}, false},
		{"hostile name", "7 (a) Z 9 (b) S" + rest, facts{start: "4711", parent: 1, session: 3}, false},
		{"short", "7 (frps) S 1 2 3", facts{}, true},
		{"no name", "7 S" + strings.ReplaceAll(rest, ")", ""), facts{}, true},
		{"empty", "", facts{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.in))
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	self, err := inspect(os.Getpid())
	if err != nil || self.parent != os.Getppid() || self.exe.Ino == 0 || self.ended {
		t.Errorf("of this process: %+v, %v", self, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (frps) S 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseStat(b); err == nil && got.start == "" {
			t.Errorf("accepted %q", b)
		}
	})
}
