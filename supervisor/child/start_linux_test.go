package child_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"p2prc/supervisor/child"
)

func TestStart_recordsTheChild(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	s.Admin = child.Admin{Addr: netip.MustParseAddrPort("127.0.0.1:7400"), User: "u", Password: "p4ss"}
	s.Common, s.Mappings = "c1", "m1"
	s.Extra = json.RawMessage(`{"gate":8443}`)
	p := startReady(t, s)

	r, err := child.ReadRun(s.RunFile)
	if err != nil {
		t.Fatal(err)
	}
	if r.Admin != s.Admin {
		t.Errorf("admin %v, want %v", r.Admin, s.Admin)
	}
	if r.PID != p.PID() || r.Start == "" || r.Boot == "" || r.Exe.Ino == 0 || r.Name != "frps" {
		t.Errorf("not enough to find it again: %+v %q %q %v", r, r.Start, r.Boot, r.Exe)
	}
	if r.Common != "c1" || r.Mappings != "m1" {
		t.Errorf("hashes %q %q", r.Common, r.Mappings)
	}
	var extra struct{ Gate int }
	if err := json.Unmarshal(r.Extra, &extra); err != nil || extra.Gate != 8443 {
		t.Errorf("extra %s: %v", r.Extra, err)
	}
	for _, file := range []string{s.RunFile, s.LogFile} {
		if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", file, fi.Mode(), err)
		}
	}

	if got := fmt.Sprintf("%v %+v %#v", p, p, p) + p.LogValue().String(); strings.Contains(got, "p4ss") || strings.Contains(got, "8443") {
		t.Errorf("it prints its secrets: %s", got)
	}

	if err := p.UpdateRun("c1", "m2"); err != nil {
		t.Fatal(err)
	}
	if r, err = child.ReadRun(s.RunFile); err != nil || r.Mappings != "m2" || r.PID != p.PID() {
		t.Errorf("after the reload: %v %q %v", r, r.Mappings, err)
	}
}

func TestStart_detachesTheChild(t *testing.T) {
	t.Setenv("http_proxy", "http://203.0.113.1:3128")
	t.Setenv("SECRET", "of p2prc")
	s := fakeSpec(t, "environment", "SSL_CERT_FILE=/x")
	startReady(t, s)
	b, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for line := range strings.Lines(string(b)) {
		if key, _, ok := strings.Cut(line, "="); ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	want := []string{fakeKey, markKey, testKey, "GORACE", "HOME", child.NonceKey, "PATH", "SSL_CERT_FILE"}
	slices.Sort(want)
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}

	s = fakeSpec(t, "descriptors")
	p := startReady(t, s)
	awaitLine(t, s.LogFile, "0 /dev/null")
	awaitLine(t, s.LogFile, "1 "+s.LogFile)
	awaitLine(t, s.LogFile, "2 "+s.LogFile)
	if sid, err := session(p.PID()); err != nil || sid != p.PID() {
		t.Errorf("session %d, %v: want one of its own", sid, err)
	}
}

func TestStart_terminalSignalsStayOut(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			s := fakeSpec(t, "witness")
			o := startOther(t, "start", s, &syscall.SysProcAttr{Setpgid: true})
			o.pid()
			awaitLine(t, s.LogFile, "ready")
			// What a terminal does on Ctrl-C, hangup and Ctrl-\.
			if err := syscall.Kill(-o.cmd.Process.Pid, sig); err != nil {
				t.Fatal(err)
			}
			_ = o.cmd.Wait() // killed by it
			p := adopt(t, s)
			assertUntouched(t, p, s.LogFile)
		})
	}
}

func TestStart_refusesASecondChild(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "good")
	p := startReady(t, s)
	if _, err := child.Start(s); !errors.Is(err, child.ErrRunning) {
		t.Fatalf("got %v, want ErrRunning", err)
	}
	if r, err := child.ReadRun(s.RunFile); err != nil || r.PID != p.PID() {
		t.Errorf("the run file now says %v, %v", r, err)
	}
}

func TestStart_failures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name, path string
		want       error
	}{
		{"missing", filepath.Join(dir, "none"), child.ErrMissing},
		{"not executable", file("plain", "#!/bin/sh\n", 0o644), child.ErrNotExecutable},
		{"a directory", dir, child.ErrNotExecutable},
		{"no program", file("garbage", "\x00\x01\x02", 0o755), child.ErrWrongArch},
		{"another machine", file("arm", foreignELF, 0o755), child.ErrWrongArch},
		{"loader missing", file("musl", "#!/nonexistent/ld-musl\n", 0o755), child.ErrWrongArch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakeSpec(t, "good")
			s.Path = tt.path
			_, err := child.Start(s)
			if e, ok := errors.AsType[*child.BinaryError](err); !ok || !errors.Is(err, tt.want) || e.Path != tt.path {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if _, err := os.Stat(s.RunFile); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a run file is left: %v", err)
			}
		})
	}
	t.Run("relative path", func(t *testing.T) {
		s := fakeSpec(t, "good")
		s.Path = "frps"
		if _, err := child.Start(s); err == nil || !strings.Contains(err.Error(), "absolute") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no place for the run file", func(t *testing.T) {
		s := fakeSpec(t, "good")
		s.RunFile = filepath.Join(dir, "none", "frps.run")
		if _, err := child.Start(s); err == nil || len(alive(s)) > 0 {
			t.Errorf("got %v; an unrecorded child must not be started", err)
		}
	})
}

// foreignELF is the header of a program for a machine nobody has.
const foreignELF = "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xfe\xfe\x01\x00\x00\x00"

func TestProcess_noticesTheEnd(t *testing.T) {
	t.Parallel()
	t.Run("killed", func(t *testing.T) {
		p := startReady(t, fakeSpec(t, "good"))
		if got := p.Exit(); got.Known || got.Ran != 0 {
			t.Errorf("an exit before the end: %v", got)
		}
		if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e := awaitDone(t, p)
		if !e.Known || e.Signal != syscall.SIGKILL || e.Adopted || e.String() != "killed by SIGKILL" {
			t.Errorf("got %+v", e)
		}
		if e.Ran <= 0 || e.Ran > time.Minute {
			t.Errorf("ran %v", e.Ran)
		}
	})
	t.Run("exits at once", func(t *testing.T) {
		e := awaitDone(t, start(t, fakeSpec(t, "coloured")))
		want := []string{
			"2026-11-23 09:31:31.255 [I] [frps/root.go:105] frps uses config file: t.toml",
			"create server listener error, listen tcp 127.0.0.1:27100: bind: address already in use",
		}
		if diff := cmp.Diff(want, e.Tail); diff != "" || e.Code != 1 || e.String() != "exit code 1" {
			t.Errorf("%v, tail (-want +got):\n%s", e, diff)
		}
	})
}

// assertUntouched checks that the witness got no signal at all.
func assertUntouched(t *testing.T, p *child.Process, log string) {
	t.Helper()
	select {
	case <-p.Done():
		t.Fatalf("it ended: %v", p.Exit())
	default:
	}
	// A signal sent now comes after all that were sent before.
	if err := syscall.Kill(p.PID(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, log, "signal: user defined signal 2")
	b, err := os.ReadFile(log)
	if err != nil || strings.Count(string(b), "signal:") != 1 {
		t.Errorf("it was signalled (%v):\n%s", err, b)
	}
}

func session(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	var state string
	var parent, group, sid int
	_, rest, _ := strings.Cut(string(b), ") ")
	_, err = fmt.Sscan(rest, &state, &parent, &group, &sid)
	return sid, err
}
