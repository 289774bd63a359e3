package tables

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPortRange(t *testing.T) {
	for in, want := range map[string]PortRange{"20000-29999": {20000, 29999}, "80": {80, 80}, "1-65535": {1, 65535}} {
		got, err := ParsePortRange(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("%s: %v, %v", in, got, err)
		}
		if got.Len() != int(want.Last)-int(want.First)+1 || !got.Contains(want.First) || !got.Contains(want.Last) {
			t.Errorf("%s: %d ports", in, got.Len())
		}
	}
	for _, in := range []string{"", "0", "0-5", "65536", "5-4", "-5", "1-2-3", "a", "1 - 2"} {
		if got, err := ParsePortRange(in); err == nil {
			t.Errorf("%q is read as %v", in, got)
		}
	}
	r := PortRange{10, 12}
	if r.Contains(9) || r.Contains(13) || (PortRange{}).Len() != 0 {
		t.Error("ports outside the range are in it")
	}
}

// A proxy whose pool is not known yet must not make the table unreadable.
func TestPortRange_JSON(t *testing.T) {
	for want, r := range map[string]PortRange{`""`: {}, `"80"`: {80, 80}, `"80-90"`: {80, 90}} {
		b, err := json.Marshal(r)
		if err != nil || string(b) != want {
			t.Errorf("%+v: %s, %v", r, b, err)
		}
		var back PortRange
		if err := json.Unmarshal(b, &back); err != nil || back != r {
			t.Errorf("%s: %+v, %v", b, back, err)
		}
	}
	for _, bad := range []string{`"0"`, `"9-8"`, `7`} {
		if err := json.Unmarshal([]byte(bad), new(PortRange)); err == nil {
			t.Errorf("%s is a range", bad)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, ok := range []string{"a", "web-1", "0", strings.Repeat("x", MaxName)} {
		if err := CheckName(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "A", "a b", "a/b", "../x", "a\x00", "a\n", "{{ .Envs.X }}", "ä", "a.b", strings.Repeat("x", MaxName+1)} {
		if err := CheckName(bad); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}
