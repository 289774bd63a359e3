package frptest

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startTime bounds the wait for a child's admin API. frps needs 130 ms with a
// certificate of its own making; a loaded machine needs more.
const startTime = 20 * time.Second

// Spec says what to run.
type Spec struct {
	Name    string // frps or frpc
	Version string // empty: Version
	Config  string // the whole file
	Admin   netip.AddrPort
	Env     []string // added to PATH and HOME, which is all a child gets otherwise
}

// Process is a running frps or frpc. It is killed when the test ends; when the
// test failed its output is logged.
type Process struct {
	Pid    int
	Config string          // path of the file, free to be replaced
	Done   <-chan struct{} // closed once it has ended

	t      testing.TB
	name   string
	output string
	cmd    *exec.Cmd
}

// Run writes the configuration into a directory of its own and starts frp with
// it, without waiting.
func Run(t testing.TB, s Spec) *Process {
	t.Helper()
	if s.Version == "" {
		s.Version = Version
	}
	dir := t.TempDir()
	p := &Process{
		t: t, name: s.Name + " " + s.Version,
		Config: filepath.Join(dir, s.Name+".toml"),
		output: filepath.Join(dir, s.Name+".log"),
	}
	if err := os.WriteFile(p.Config, []byte(s.Config), 0o600); err != nil {
		t.Fatal(err)
	}
	// A file, never a pipe: a full pipe stops frp.
	out, err := os.Create(p.output)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()

	p.cmd = exec.Command(Path(t, s.Name, s.Version), "-c", p.Config)
	p.cmd.Dir = dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, s.Env...)
	if root := os.Getenv("SYSTEMROOT"); root != "" { // sockets need it on Windows
		p.cmd.Env = append(p.cmd.Env, "SYSTEMROOT="+root)
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", p.name, err)
	}
	p.Pid = p.cmd.Process.Pid
	done := make(chan struct{})
	p.Done = done
	go func() {
		defer close(done)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, p.Output())
		}
	})
	return p
}

// Start is Run, and waits until the admin API answers.
func Start(t testing.TB, s Spec) *Process {
	t.Helper()
	p := Run(t, s)
	p.AwaitAdmin(s.Admin)
	return p
}

// AwaitAdmin waits until the admin API at addr answers; the test fails if the
// process ends first. /healthz needs no password and is 200 from 0.61 to 0.70.1.
func (p *Process) AwaitAdmin(addr netip.AddrPort) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := fmt.Sprintf("http://%s/healthz", addr)
	step := time.NewTicker(time.Millisecond)
	defer step.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.Done:
			p.t.Fatalf("%s ended (%v) before its admin API answered", p.name, p.cmd.ProcessState)
		case <-ctx.Done():
			p.t.Fatalf("%s: no answer from %s in %v: %v", p.name, url, startTime, err)
		case <-step.C:
		}
	}
}

// Kill ends the process at once, as a power cut would, and waits for it.
func (p *Process) Kill() {
	select {
	case <-p.Done: // its pid may be somebody else's by now
	default:
		_ = p.cmd.Process.Kill() // an error means that it has just ended
		<-p.Done
	}
}

// ExitCode is the process's exit code once it has ended, -1 when it was killed.
func (p *Process) ExitCode() int {
	<-p.Done
	return p.cmd.ProcessState.ExitCode()
}

// Output is what the process has written so far.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
