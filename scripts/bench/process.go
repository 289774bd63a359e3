package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopGrace is how long a process may take to end in order: p2prc promises
// five seconds.
const stopGrace = 8 * time.Second

// process is something that a world runs. Its output goes to a file: a pipe
// that nobody empties would stop it.
type process struct {
	name    string
	pid     int
	log     string // the file with its output
	began   time.Time
	orphans func() // ends what it leaves behind when it is killed
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended
	err     error         // how it ended; to be read after done
}

// start runs the binary with an environment that holds nothing of the user's.
func (w *world) start(name, path string, args ...string) (*process, error) {
	if err := os.MkdirAll(logsOf(w.dir), 0o700); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	w.started++
	p := &process{name: name, log: filepath.Join(logsOf(w.dir), fmt.Sprintf("%s-%d.log", name, w.started)), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer out.Close() // the child has its own
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Env = w.dir, w.environment()
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = out, out, apart()
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p.pid = p.cmd.Process.Pid
	w.running = append(w.running, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// environment keeps the user's own p2prc, its config file included, out.
func (w *world) environment() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + w.dir,
		"CONFIGURATION_DIRECTORY=" + w.dir,
	}, system()...)
}

// stop ends the process in order, and by force where that takes too long.
func (p *process) stop() error {
	if p.ended() {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(fmt.Errorf("ending %s: %w", p.name, err), p.kill())
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopGrace):
		return errors.Join(fmt.Errorf("%s did not end within %v\n%s", p.name, stopGrace, tail(p.log)), p.kill())
	}
}

// kill ends the process and what it would leave behind at once.
func (p *process) kill() error {
	if p.orphans != nil {
		defer p.orphans()
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Bounds on a wait for something that takes a second at most when all is well.
const (
	patience  = 30 * time.Second
	pollEvery = time.Millisecond
)

// until asks once a millisecond whether it is so, and says when it was. It
// gives up when p ends.
func until(ctx context.Context, p *process, what string, so func(context.Context) bool) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not after %v", patience))
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if so(ctx) {
			return time.Now(), nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return time.Time{}, fmt.Errorf("waiting for %s: %s ended: %v\n%s", what, p.name, p.err, tail(p.log))
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for %s: %w\n%s", what, context.Cause(ctx), tail(p.log))
		}
	}
}

// tail is the end of a log file, for an error.
func tail(path string) string {
	const most = 2000
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-most):])
}
