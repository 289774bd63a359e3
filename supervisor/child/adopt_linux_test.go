package child_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2prc/supervisor/child"
)

func TestAdopt_afterKill9(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	s.Admin = child.Admin{User: "u", Password: "p4ss"}
	pid := startedByOther(t, s)

	p, r, err := child.Adopt(s)
	if err != nil {
		t.Fatal(err)
	}
	killAfter(t, p)
	if p.PID() != pid || r.PID != pid || r.Admin.Password != "p4ss" || p.Started().IsZero() {
		t.Errorf("got %v, want pid %d", r, pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e := awaitDone(t, p)
	if !e.Adopted || e.Known {
		t.Errorf("got %+v: nobody tells how another's child ended", e)
	}
	if _, _, err := child.Adopt(s); !errors.Is(err, child.ErrNoChild) {
		t.Errorf("a dead child: got %v, want ErrNoChild", err)
	}
}

func TestAdopt_withoutPidfd(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	pid := startedByOther(t, s)
	p, err := child.AdoptPolling(s)
	if err != nil {
		t.Fatal(err)
	}
	killAfter(t, p)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitDone(t, p)

	t.Run("stop", func(t *testing.T) {
		startedByOther(t, s)
		p, err := child.AdoptPolling(s)
		if err != nil {
			t.Fatal(err)
		}
		killAfter(t, p)
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		awaitDone(t, p)
	})
	t.Run("release", func(t *testing.T) {
		startedByOther(t, s)
		p, err := child.AdoptPolling(s)
		if err != nil {
			t.Fatal(err)
		}
		p.Release()
		adopt(t, s)
	})
}

func TestAdopt_orphanOfAHalfStart(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	o := startOther(t, "start unrecorded", s, nil)
	pid := o.pid()
	o.kill()
	if r, err := child.ReadRun(s.RunFile); err != nil || r.PID != 0 {
		t.Fatalf("the run file should not know the pid: %v, %v", r, err)
	}
	if p := adopt(t, s); p.PID() != pid {
		t.Errorf("got %v, want pid %d", p, pid)
	}
	if r, err := child.ReadRun(s.RunFile); err != nil || r.PID != pid {
		t.Errorf("not recorded: %v, %v", r, err)
	}
}

// What an orphan has started carries its nonce too, but is not the child.
func TestAdopt_orphanIsDead(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "forks")
	o := startOther(t, "start unrecorded", s, nil)
	pid := o.pid()
	awaitPair(t, s)
	o.kill()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "its end", func() bool { return len(alive(s)) == 1 })
	t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) }) // the group lives as long as a member
	if p, _, err := child.Adopt(s); !errors.Is(err, child.ErrNoChild) {
		t.Errorf("got %v, %v, want ErrNoChild", p, err)
	}
}

// p2prc is killed at some moment of a start: the child is then found, or there
// is none.
func TestAdopt_killedAnyTime(t *testing.T) {
	t.Parallel()
	const rounds = 20
	found := 0
	for range rounds {
		s := fakeSpec(t, "good")
		o := startOther(t, "start when told", s, nil)
		if got := o.line(); got != "now" {
			t.Fatal(got)
		}
		<-time.After(rand.N(8 * time.Millisecond)) // the moment is the point
		o.kill()
		// A next p2prc gets the lock once the exec has given it up.
		if err := lock(s.RunFile + ".lock"); err != nil {
			t.Fatal(err)
		}
		p, _, err := child.Adopt(s)
		switch {
		case err == nil:
			found++
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, child.ErrNoChild):
			t.Fatal(err)
		}
		if left := alive(s); len(left) > 0 {
			t.Fatalf("lost: pid %v, after %v", left, err)
		}
	}
	t.Logf("%d of %d children had been started", found, rounds)
}

// Whatever the run file says, a process that is not provably the child is left
// alone.
func TestAdopt_leavesForeignProcessesAlone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		tamper func(*child.Run)
		want   error // nil: another error than ErrNoChild
	}{
		{"pid reused", func(r *child.Run) { r.Start = "1" }, child.ErrNoChild},
		{"start not recorded", func(r *child.Run) { r.Start = "" }, child.ErrNoChild},
		{"another binary", func(r *child.Run) { r.Exe.Ino++ }, child.ErrNoChild},
		{"another boot", func(r *child.Run) { r.Boot = "0" }, child.ErrNoChild},
		{"no such pid", func(r *child.Run) { r.PID = 1 << 30 }, child.ErrNoChild},
		{"init", func(r *child.Run) { r.PID = 1 }, child.ErrNoChild},
		{"p2prc itself", func(r *child.Run) { r.PID = os.Getpid() }, child.ErrNoChild},
		{"nonce of nobody", func(r *child.Run) { r.PID, r.Nonce = 0, "none" }, child.ErrNoChild},
		{"damaged", func(r *child.Run) { r.Nonce = "" }, child.ErrNoChild},
		{"newer format", func(r *child.Run) { r.FileFormat = 2 }, nil},
		{"other child's", func(r *child.Run) { r.Name = "frpc" }, nil},
	}
	s := fakeSpec(t, "witness")
	witness := startReady(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := witness.Run()
			tt.tamper(&r)
			s2 := fakeSpec(t, "good")
			writeRun(t, s2.RunFile, r)
			_, _, err := child.Adopt(s2)
			if err == nil || errors.Is(err, child.ErrNoChild) != (tt.want != nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			p, err := child.Start(s2)
			if (err == nil) != (tt.want != nil) {
				t.Fatalf("starting another: %v", err)
			}
			if err == nil {
				if err := p.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	assertUntouched(t, witness, s.LogFile)
}

func TestAdopt_unreadableRunFile(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	for name, content := range map[string]string{"empty": "", "truncated": `{"format":1,`, "other": `[]`} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(s.RunFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := child.Adopt(s); !errors.Is(err, child.ErrNoChild) {
				t.Errorf("got %v, want ErrNoChild", err)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		s.RunFile = t.TempDir()
		if _, _, err := child.Adopt(s); err == nil || errors.Is(err, child.ErrNoChild) {
			t.Errorf("got %v: not to be read is not the same as not there", err)
		}
	})
}

// In a container whose PID 1 does not collect orphans a dead child stays as a
// zombie, with its pid and start time.
func TestAdopt_zombie(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	pid := startReleased(t, s).PID() // nobody collects it now
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "the zombie", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && strings.Contains(string(stat), ") Z ")
	})
	if _, _, err := child.Adopt(s); !errors.Is(err, child.ErrNoChild) || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("got %v, want ErrNoChild", err)
	}
	var ws syscall.WaitStatus
	if got, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || got != pid {
		t.Fatalf("it was no zombie: %d, %v", got, err)
	}
}

// As PID 1 of a container, or after an exec into a new version of itself, p2prc
// is the parent of what it adopts.
func TestAdopt_ownChild(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	startReleased(t, s)
	p := adopt(t, s)
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := awaitDone(t, p); !e.Known || e.Signal != syscall.SIGKILL || !e.Adopted {
		t.Errorf("got %+v", e)
	}
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the zombie was not collected: %v", err)
	}
}

func TestAdopt_sweepsTemporaryFiles(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	dir, base := filepath.Split(s.RunFile)
	temp := filepath.Join(dir, "."+base+"123")
	if err := os.WriteFile(temp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := child.Adopt(s); !errors.Is(err, child.ErrNoChild) {
		t.Fatal(err)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func writeRun(t *testing.T, path string, r child.Run) {
	t.Helper()
	b, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
