package main

import (
	"slices"
	"testing"
)

func TestSumBytes(t *testing.T) {
	const text = `ESTAB 0 0 127.0.0.1:42626 127.0.0.1:31605 users:(("p2prc",pid=20442,fd=38))
	 cubic rto:204 bytes_sent:600 bytes_acked:601 bytes_received:20 segs_out:67
ESTAB 0 0 127.0.0.1:42627 127.0.0.1:31606 users:(("frps",pid=204,fd=3))
	 cubic rto:204 bytes_sent:9000 bytes_received:9000
ESTAB 0 0 127.0.0.1:42628 127.0.0.1:31607
	 cubic rto:204 bytes_sent:9000
ESTAB 0 0 127.0.0.1:42629 127.0.0.1:31608 users:(("p2prc",pid=20442,fd=39))
	 cubic rto:204 bytes_received:5
`
	got, err := sumBytes(text, []int{20442, 7})
	if want := []float64{625, 0}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
