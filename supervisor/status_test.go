package supervisor

import (
	"slices"
	"testing"

	"p2prc/tables"
)

// TestTroubled: a line for each reason, none for what was said already.
func TestTroubled(t *testing.T) {
	row := func(name, reason string) MappingStatus {
		m := tables.Mapping{Name: name, State: tables.Down, Reason: reason}
		if reason == "" {
			m.State = tables.Up
		}
		return MappingStatus{Mapping: m}
	}
	rows := []MappingStatus{row("a", "no tunnel"), row("b", "the proxy is gone"), row("c", ""), row("d", "no tunnel"), row("e", "no service")}
	if got := troubled(rows, []string{"the proxy is gone"}); !slices.Equal(got, []string{"a and 1 more: no tunnel", "e: no service"}) {
		t.Errorf("%q", got)
	}
}
