package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"p2prc/supervisor"
	"p2prc/tables"
)

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing wrong", nil, 0},
		{"any error", errors.New("x"), 1},
		{"a failure without a code of its own", &supervisor.Failure{Err: errors.New("x")}, 1},
		{"a wrapped failure", fmt.Errorf("x: %w", &supervisor.Failure{Kind: supervisor.Refused, Err: errors.New("x")}), 6},
		{"a joined failure", errors.Join(&supervisor.Failure{Kind: supervisor.ChildDying, Err: errors.New("x")}, errors.New("y")), 10},
		{"an unknown kind", &supervisor.Failure{Kind: 99, Err: errors.New("x")}, 1},
		{"usage", fmt.Errorf("--map: %w", usage("", "x")), 2},
		{"an unreadable table", &tables.UnusableError{Path: "x", Err: fs.ErrPermission}, 3},
		{"a held directory", &tables.LockedError{Path: "x"}, 11},
		{"interrupted", errors.Join(errInterrupted, errors.New("x")), 130},
		{"stdout closed", written(&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}), 0},
		{"stdout full", written(&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}), 1},
		{"a broken connection is no closed stdout", fmt.Errorf("dialling: %w", syscall.EPIPE), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := exitCode(tt.err); got != tt.want {
				t.Errorf("exitCode(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

func TestExitCode_everyKindHasACodeInTheTable(t *testing.T) {
	known := map[int]bool{}
	for _, e := range exitCodes {
		if known[e.code] {
			t.Errorf("code %d stands twice in the table", e.code)
		}
		known[e.code] = true
	}
	for kind := supervisor.Other; kind <= supervisor.TimedOut; kind++ {
		code, ok := exitOfKind[kind]
		if !ok || !known[code] {
			t.Errorf("kind %d has the code %d, which is in no table", kind, code)
		}
	}
}

// TestExitCode_README keeps the documented table and the code together.
func TestExitCode_README(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no README")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "Exit codes\n")
	if !ok {
		t.Fatal("README.md has no section \"Exit codes\"")
	}
	if end := regexp.MustCompile(`(?m)^#`).FindStringIndex(section); end != nil {
		section = section[:end[0]]
	}
	got := map[int]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| *(\d+) *\| *(.*?) *\|$`).FindAllStringSubmatch(section, -1) {
		code, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		got[code] = row[2]
	}
	want := map[int]string{}
	for _, e := range exitCodes {
		want[e.code] = e.meaning
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("README.md and exit.go differ (-exit.go +README.md)\n%s", diff)
	}
}
