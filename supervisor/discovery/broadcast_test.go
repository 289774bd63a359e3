package discovery

import (
	"testing"
	"time"

	"p2prc/tables/identity"
	"p2prc/tables/record"
)

func TestSigns_first(t *testing.T) {
	s := signs{}
	now := time.Now()
	for _, step := range []struct {
		after time.Duration
		who   string
		first bool
	}{
		{0, "a", true},
		{record.BeatEvery, "a", false},
		{0, "b", true},
		{record.BeatLife - time.Second, "a", false},
		{record.BeatLife, "a", true},
		{0, "b", true},
		{time.Hour, "c", true},
	} {
		now = now.Add(step.after)
		if got := s.first(identity.ID(step.who), now); got != step.first {
			t.Errorf("%s after %v: first is %v", step.who, step.after, got)
		}
	}
	if len(s) != 1 {
		t.Errorf("%d are remembered", len(s))
	}
}
