package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// samples are the outcomes of one measurement, in the order they were made.
type samples []float64

// median is the middle sample, of an even number the mean of the two in the
// middle; of none it is NaN.
func (s samples) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// MarshalJSON writes the samples with what sums them up.
func (s samples) MarshalJSON() ([]byte, error) {
	if len(s) == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(struct {
		Median  float64   `json:"median"`
		Min     float64   `json:"min"`
		Max     float64   `json:"max"`
		Samples []float64 `json:"samples"`
	}{s.median(), slices.Min(s), slices.Max(s), s})
}

// unit is what a sample counts.
type unit string

const (
	inSeconds unit = "s"
	inBytes   unit = "bytes"
	inPercent unit = "% of a core"
	inBits    unit = "bit/s"
	inRate    unit = "1/s"
	inFlow    unit = "bytes/s"
)

// show is v as people read it.
func (u unit) show(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case u == inSeconds && v < 0.001:
		return fmt.Sprintf("%.0f us", v*1e6)
	case u == inSeconds && v < 0.01:
		return fmt.Sprintf("%.1f ms", v*1e3)
	case u == inSeconds && v < 1:
		return fmt.Sprintf("%.0f ms", v*1e3)
	case u == inSeconds:
		return fmt.Sprintf("%.2f s", v)
	case u == inBytes:
		return fmt.Sprintf("%.1f MB", v/1e6)
	case u == inPercent:
		return fmt.Sprintf("%.3f %%", v)
	case u == inFlow:
		return fmt.Sprintf("%.1f kB/s", v/1e3)
	case u == inBits:
		return fmt.Sprintf("%.2f Gbit/s", v/1e9)
	default:
		return fmt.Sprintf("%.0f/s", v)
	}
}

// span is the median and, where there is more than one sample, the range.
func (s samples) span(u unit) string {
	if len(s) < 2 {
		return u.show(s.median())
	}
	return fmt.Sprintf("%s [%s - %s]", u.show(s.median()), u.show(slices.Min(s)), u.show(slices.Max(s)))
}
