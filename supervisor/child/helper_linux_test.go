package child_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"p2prc/supervisor/child"
)

const politeSignal = syscall.SIGUSR1

// playP2PRC starts the child of its Spec, prints its pid and waits to be killed.
func playP2PRC(part string) {
	if err := helper(part); err != nil {
		fmt.Println("helper:", err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test is gone
}

func helper(part string) error {
	s, err := decodeSpec(os.Getenv(specKey))
	if err != nil {
		return err
	}
	var p *child.Process
	switch part {
	case "start":
		p, err = child.Start(s)
	case "start unrecorded":
		p, err = child.StartUnrecorded(s)
	case "start when told":
		// As p2prc does, it holds a lock that a fork inherits and an exec gives up.
		if err := lock(s.RunFile + ".lock"); err != nil {
			return err
		}
		fmt.Println("now")
		p, err = child.Start(s)
	case "start on a full disk":
		if err := fillDisk(filepath.Dir(s.LogFile)); err != nil {
			return err
		}
		p, err = child.Start(s)
	}
	if err != nil {
		return err
	}
	fmt.Println(p.PID())
	return nil
}

func lock(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
}

// fillDisk mounts a small file system on dir, in the helper's own namespace, and
// fills it.
func fillDisk(dir string) error {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		return fmt.Errorf("mounting a small disk: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := io.Copy(f, strings.NewReader(strings.Repeat("x", 1<<20))); err == nil {
		return fmt.Errorf("the disk took %d bytes", n)
	}
	return nil
}

// other is a p2prc in a process of its own.
type other struct {
	t   testing.TB
	cmd *exec.Cmd
	out *bufio.Reader
}

func startOther(t testing.TB, part string, s child.Spec, attr *syscall.SysProcAttr) *other {
	t.Helper()
	cmd := exec.Command(mustExecutable())
	cmd.Env = append(os.Environ(), helperKey+"="+part, specKey+"="+encodeSpec(t, s), mark())
	cmd.SysProcAttr = attr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &other{t: t, cmd: cmd, out: bufio.NewReader(out)}
	t.Cleanup(o.kill)
	return o
}

// line is the next thing the helper says.
func (o *other) line() string {
	o.t.Helper()
	line, err := o.out.ReadString('\n')
	if err != nil {
		o.t.Fatalf("the helper ended: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// pid is that of the child it has started.
func (o *other) pid() int {
	o.t.Helper()
	line := o.line()
	pid, err := strconv.Atoi(line)
	if err != nil {
		o.t.Fatal(line)
	}
	return pid
}

// kill is the helper's kill -9.
func (o *other) kill() {
	_ = o.cmd.Process.Kill() // it may have ended
	_ = o.cmd.Wait()
}

// startedByOther starts the child in another p2prc and kills that one.
func startedByOther(t testing.TB, s child.Spec) int {
	t.Helper()
	o := startOther(t, "start", s, nil)
	pid := o.pid()
	o.kill()
	return pid
}
