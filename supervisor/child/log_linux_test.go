package child_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"p2prc/supervisor/child"
)

func TestLog_isCutAndNeverBlocks(t *testing.T) {
	t.Parallel()
	report := filepath.Join(t.TempDir(), "report")
	s := fakeSpec(t, "spam", fileKey+"="+report)
	start(t, s)
	await(t, "100 MB of output", exists(report))
	await(t, "a short log", shorterThan(s.LogFile, child.MaxLog))
	if b, err := os.ReadFile(s.LogFile + ".1"); err != nil || !strings.Contains(string(b), "spam \nspam ") {
		t.Errorf("what was cut should be kept: %d bytes, %v", len(b), err)
	}
}

// The log of an adopted child that somebody moved away is cut as well.
func TestLog_movedAway(t *testing.T) {
	t.Parallel()
	report := filepath.Join(t.TempDir(), "report")
	s := fakeSpec(t, "spam", fileKey+"="+report)
	startedByOther(t, s)
	await(t, "100 MB of output", exists(report))
	moved := s.LogFile + ".moved"
	if err := os.Rename(s.LogFile, moved); err != nil {
		t.Fatal(err)
	}
	adopt(t, s)
	await(t, "a short log", shorterThan(moved, child.MaxLog))
}

// On a full disk a write is an error for the child, which frp ignores, and not
// a wait.
func TestLog_fullDisk(t *testing.T) {
	t.Parallel()
	report := filepath.Join(t.TempDir(), "report")
	s := fakeSpec(t, "spam", fileKey+"="+report)
	s.LogFile = filepath.Join(t.TempDir(), "frps.log")
	s.Dir = ""
	namespace := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	probe := exec.Command("mount", "-t", "tmpfs", "none", t.TempDir())
	probe.SysProcAttr = namespace
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no small disk without user namespaces: %v %s", err, out)
	}
	o := startOther(t, "start on a full disk", s, namespace)
	pid := o.pid()
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it is ours as long as the helper lives
	await(t, "100 MB of output", exists(report))
}

func TestLog_keepsTheRunBefore(t *testing.T) {
	t.Parallel()
	s := fakeSpec(t, "coloured")
	awaitDone(t, start(t, s))
	s.Env = fakeSpec(t, "good").Env
	startReady(t, s)
	b, err := os.ReadFile(s.LogFile + ".1")
	if err != nil || !strings.Contains(string(b), "address already in use") {
		t.Errorf("%q, %v", b, err)
	}
	if b, err = os.ReadFile(s.LogFile); err != nil || string(b) != "ready\n" {
		t.Errorf("the new log begins with another run: %q, %v", b, err)
	}
}

func exists(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

func shorterThan(path string, n int64) func() bool {
	return func() bool {
		fi, err := os.Stat(path)
		return err == nil && fi.Size() <= n
	}
}
