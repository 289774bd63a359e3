package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// socketBytes is what each process sent and received on the TCP connections
// that it has open, as the kernel counted. What went over one that opened and
// closed in between is not in it.
func socketBytes(ctx context.Context, pids []int) ([]float64, error) {
	out, err := exec.CommandContext(ctx, "ss", "-tinHp").Output()
	if err != nil {
		return nil, fmt.Errorf("asking ss (iproute2) for the connections: %w", err)
	}
	return sumBytes(string(out), pids)
}

// sumBytes reads what ss -tinHp says: a line for a connection, and an indented
// one with its counters.
func sumBytes(text string, pids []int) ([]float64, error) {
	total := make([]float64, len(pids))
	of := -1
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, " ") {
			of = -1
			for i, pid := range pids {
				if strings.Contains(line, fmt.Sprintf("pid=%d,", pid)) {
					of = i
				}
			}
		}
		if of < 0 {
			continue
		}
		for word := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(word, ":")
			if key == "bytes_sent" || key == "bytes_received" {
				n, err := strconv.ParseFloat(value, 64)
				if err != nil {
					return nil, fmt.Errorf("reading what ss says: %w", err)
				}
				total[of] += n
			}
		}
	}
	return total, nil
}
