package child_test

import (
	"errors"
	"testing"

	"p2prc/supervisor/child"
)

func TestParseVersion(t *testing.T) {
	tests := []struct {
		in   string
		want child.Version
		bad  bool
	}{
		{in: "0.70.1\n", want: child.Version{0, 70, 1}},
		{in: "0.61.0", want: child.Version{0, 61, 0}},
		{in: "v1.2.3-rc.1+deb13u1\r\n", want: child.Version{1, 2, 3}},
		{in: "", bad: true},
		{in: "0.70", bad: true},
		{in: "frps version 0.70.1", bad: true},
		{in: "0.70.1\nusage: ...", bad: true},
		{in: "99999.0.0", bad: true},
		{in: "0.70.1garbage", bad: true},
		{in: "<html>", bad: true},
	}
	for _, tt := range tests {
		got, err := child.ParseVersion(tt.in)
		if got != tt.want || (err != nil) != tt.bad || tt.bad && !errors.Is(err, child.ErrNotFRP) {
			t.Errorf("%q: got %v, %v", tt.in, got, err)
		}
	}
}

func TestVersion_compare(t *testing.T) {
	ordered := []child.Version{{0, 52, 3}, {0, 60, 9}, child.Min, {0, 61, 1}, {0, 70, 1}, {1, 0, 0}}
	for i, v := range ordered {
		for j, w := range ordered {
			if got := v.Compare(w); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%v and %v: %d", v, w, got)
			}
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("0.70.1\n")
	f.Add("v0.61.0-dirty")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := child.ParseVersion(s)
		if err != nil {
			return
		}
		if again, err := child.ParseVersion(v.String()); err != nil || again != v {
			t.Errorf("%q is %v, which is %v, %v", s, v, again, err)
		}
	})
}
