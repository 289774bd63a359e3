//go:build linux

package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopLimit bounds an orderly end: 5 s are promised, and the machine is busy.
const stopLimit = 10 * time.Second

// process is something that the test started on a host. It is asked to end
// when the test ends.
type process struct {
	host     host
	name     string
	cmd      *exec.Cmd
	done     chan struct{} // closed once it has ended
	out, err string        // files
}

// start runs a command on the host, without waiting. It gets this environment,
// PATH, and a home of its own. Its output goes to files: a pipe that nobody
// reads would stop it.
func (h host) start(name string, env []string, command ...string) *process {
	t := h.lab.t
	t.Helper()
	dir := h.lab.whole.TempDir()
	p := &process{
		host: h, name: name + " on " + h.name, done: make(chan struct{}),
		out: filepath.Join(dir, "stdout"), err: filepath.Join(dir, "stderr"),
	}
	line := h.inNamespace(command...)
	p.cmd = exec.Command(line[0], line[1:]...)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "CONFIGURATION_DIRECTORY=" + dir}, env...)
	stdout, err := os.Create(p.out)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	stderr, err := os.Create(p.err)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", p.name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	h.lab.whole.Cleanup(func() {
		if !p.ended() {
			p.signal(syscall.SIGTERM)
			if !p.endsWithin(stopLimit) {
				h.lab.t.Errorf("%s still runs %v after SIGTERM", p.name, stopLimit)
				p.kill()
			}
		}
		if h.lab.whole.Failed() && read(p.err) != "" {
			h.lab.whole.Logf("%s (exit %d)\nstdout:\n%s\nstderr:\n%s", p.name, p.cmd.ProcessState.ExitCode(), tail(p.out), tail(p.err))
		}
	})
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) endsWithin(limit time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(limit):
		return false
	}
}

func (p *process) signal(sig syscall.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil && !p.ended() {
		p.host.lab.t.Errorf("sending %v to %s: %v", sig, p.name, err)
	}
}

// kill ends the process as the kernel's out-of-memory killer would.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// exit waits for the process to end by itself and returns its exit code.
func (p *process) exit(limit time.Duration) int {
	p.host.lab.t.Helper()
	if !p.endsWithin(limit) {
		p.host.lab.t.Fatalf("%s: still running after %v", p.name, limit)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop asks the process to end and checks that it does so in order.
func (p *process) stop() {
	p.host.lab.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exit(stopLimit); code != 0 {
		p.host.lab.t.Errorf("%s: exit %d after SIGTERM, want 0", p.name, code)
	}
}

func (p *process) stdout() string { return read(p.out) }
func (p *process) stderr() string { return read(p.err) }

func read(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// tail is the end of a file, enough to see what went wrong.
func tail(file string) string {
	const lines = 60
	all := strings.Split(strings.TrimSpace(read(file)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
