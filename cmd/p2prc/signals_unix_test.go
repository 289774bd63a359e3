//go:build unix

package main

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"p2prc/supervisor"
)

func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(5 * time.Second):
		t.Fatalf("waited 5 s: %s", what)
	}
}

func raise(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func TestOnSignals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first syscall.Signal
		cause error
	}{
		{"Ctrl-C", syscall.SIGINT, context.Canceled},
		{"SIGTERM", syscall.SIGTERM, context.Canceled},
		{"leave", syscall.SIGUSR2, supervisor.ErrLeave},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := make(chan bool, 1)
			s := onSignals(context.Background(), true, func(leave bool) { said <- leave })
			defer s.done()
			raise(t, tt.first)
			await(t, s.ctx.Done(), "the first signal ends the context")
			if got := context.Cause(s.ctx); !errors.Is(got, tt.cause) {
				t.Errorf("cause %v, want %v", got, tt.cause)
			}
			if leave := <-said; leave != (tt.first == syscall.SIGUSR2) {
				t.Errorf("said leave %t", leave)
			}
			select {
			case <-s.abort:
				t.Error("the first signal aborts")
			default:
			}
			raise(t, syscall.SIGINT)
			await(t, s.abort, "the second signal aborts")
		})
	}
}

// SIGHUP makes a service read its mappings again; a command it ends.
func TestOnSignals_hangup(t *testing.T) {
	s := onSignals(context.Background(), true, func(bool) { t.Error("it stops") })
	raise(t, syscall.SIGHUP)
	select {
	case <-s.reload:
	case <-time.After(10 * time.Second):
		t.Error("nothing is read again")
	}
	if s.ctx.Err() != nil {
		t.Error("the context has ended")
	}
	s.done()
	s = onSignals(context.Background(), false, func(bool) {})
	defer s.done()
	raise(t, syscall.SIGHUP)
	await(t, s.ctx.Done(), "a command ends")
}

func TestOnSignals_done(t *testing.T) {
	s := onSignals(context.Background(), true, func(bool) { t.Error("there was no signal") })
	s.done()
	if s.ctx.Err() == nil {
		t.Error("the context lives on")
	}
}
