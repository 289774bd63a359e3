package main

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   samples
		want float64
	}{
		{"one", samples{3}, 3},
		{"odd, unsorted", samples{9, 1, 5}, 5},
		{"even", samples{4, 1, 3, 2}, 2.5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.in.median(); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
	if got := (samples{}).median(); !math.IsNaN(got) {
		t.Errorf("of none: got %v", got)
	}
}

func TestMedian_halvesTheSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := samples(rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 30).Draw(t, "samples"))
		before := slices.Clone(s)
		m := s.median()
		if !slices.Equal(s, before) {
			t.Fatal("the samples were reordered")
		}
		below, above := 0, 0
		for _, v := range s {
			if v < m {
				below++
			}
			if v > m {
				above++
			}
		}
		if below > len(s)/2 || above > len(s)/2 {
			t.Fatalf("%v is below %d and above %d of %d", m, above, below, len(s))
		}
	})
}

func TestSamples_json(t *testing.T) {
	got, err := json.Marshal(samples{2, 1})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"median":1.5,"min":1,"max":2,"samples":[2,1]}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnit_show(t *testing.T) {
	for _, tc := range []struct {
		unit unit
		in   float64
		want string
	}{
		{inSeconds, 0.000_42, "420 us"},
		{inSeconds, 0.0042, "4.2 ms"},
		{inSeconds, 0.0421, "42 ms"},
		{inSeconds, 4.2, "4.20 s"},
		{inSeconds, math.NaN(), "-"},
		{inBytes, 30e6, "30.0 MB"},
		{inPercent, 0.05, "0.050 %"},
		{inBits, 1.25e9, "1.25 Gbit/s"},
		{inRate, 512.4, "512/s"},
	} {
		if got := tc.unit.show(tc.in); got != tc.want {
			t.Errorf("%v %s: got %q, want %q", tc.in, tc.unit, got, tc.want)
		}
	}
}
