package child_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"p2prc/supervisor/child"
)

// long is a grace time that no test waits for.
const (
	long  = time.Minute
	short = 100 * time.Millisecond
)

func TestStop_ladder(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name, part string
		ctx        context.Context
		stop       func(*child.Process) error // by API; nil: none
		grace      time.Duration
		want       syscall.Signal // 0: exit code 0
	}{
		{"by API", "polite", t.Context(), politely, long, 0},
		{"API says nothing", "good", t.Context(), func(*child.Process) error { return nil }, short, syscall.SIGTERM},
		{"API fails: no waiting", "good", t.Context(), func(*child.Process) error { return errors.New("refused") }, long, syscall.SIGTERM},
		{"no API", "good", t.Context(), nil, long, syscall.SIGTERM},
		{"deaf", "deaf", t.Context(), nil, short, syscall.SIGKILL},
		{"deaf to all", "deaf", t.Context(), func(*child.Process) error { return nil }, short, syscall.SIGKILL},
		{"in a hurry", "deaf", cancelled, politely, long, syscall.SIGKILL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakeSpec(t, tt.part)
			s.Grace = tt.grace
			s.Admin.User = "admin of this run"
			var p *child.Process
			if tt.stop != nil {
				s.Stop = func(_ context.Context, at child.Admin) error {
					if at.User != s.Admin.User {
						t.Errorf("told to ask %v", at)
					}
					return tt.stop(p)
				}
			}
			p = startReady(t, s)
			if err := p.Stop(tt.ctx); err != nil {
				t.Fatal(err)
			}
			e := awaitDone(t, p)
			if !e.Known || e.Signal != tt.want || tt.want == 0 && e.Code != 0 {
				t.Errorf("%v, want %v", e, tt.want)
			}
			if _, err := os.Stat(s.RunFile); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the run file is still there: %v", err)
			}
			if err := p.Stop(t.Context()); err != nil {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

func politely(p *child.Process) error { return syscall.Kill(p.PID(), politeSignal) }

// An API that never answers costs the grace time and no more.
func TestStop_apiHangs(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	s.Grace = short
	s.Stop = func(ctx context.Context, _ child.Admin) error {
		<-ctx.Done()
		return ctx.Err()
	}
	p := startReady(t, s)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := awaitDone(t, p); e.Signal != syscall.SIGTERM {
		t.Error(e)
	}
}

func TestStop_stoppedProcess(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	s.Grace = long
	p := startReady(t, s)
	if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := awaitDone(t, p); e.Signal != syscall.SIGTERM {
		t.Error(e)
	}
}

// A wrapper's children end with it: they would keep its ports.
func TestStop_wholeGroup(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(child.Spec) *child.Process{
		"own":     func(s child.Spec) *child.Process { return startReady(t, s) },
		"adopted": func(s child.Spec) *child.Process { startedByOther(t, s); return adopt(t, s) },
	} {
		for how, end := range map[string]func(*child.Process) error{
			"stop":    func(p *child.Process) error { return p.Stop(t.Context()) },
			"kill":    (*child.Process).Kill,
			"kill -9": func(p *child.Process) error { return syscall.Kill(p.PID(), syscall.SIGKILL) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				s := fakeSpec(t, "forks")
				p := start(s)
				awaitPair(t, s)
				if err := end(p); err != nil {
					t.Fatal(err)
				}
				awaitDone(t, p)
				await(t, "the end of its child", func() bool { return len(alive(s)) == 0 })
			})
		}
	}
}

// A late Stop must not take the run file of the next child away.
func TestStop_keepsTheNextRun(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	first := startReady(t, s)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	next := start(t, s)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := child.ReadRun(s.RunFile); err != nil || r.PID != next.PID() {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestRelease_leavesTheChildAlone(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "witness")
	p := startReleased(t, s)
	p.Release()
	select {
	case <-p.Done():
		t.Error("done, though it runs")
	default:
	}
	again := adopt(t, s)
	if again.PID() != p.PID() {
		t.Errorf("got %v, want %v", again, p)
	}
	assertUntouched(t, again, s.LogFile)
}
