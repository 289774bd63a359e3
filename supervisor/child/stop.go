package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// killWait bounds the wait for a killed process. Only one that hangs in the
// kernel, on a dead network disk say, needs longer than milliseconds.
const killWait = 2 * time.Second

// Stop ends the process: by its API, by SIGTERM after the grace time, by SIGKILL
// after another one. When ctx ends, SIGKILL comes at once: a child is never left
// half stopped. The run file is removed once the process is dead. On Windows
// there is no SIGTERM.
func (p *Process) Stop(ctx context.Context) error {
	if !p.ask(ctx) && !p.terminate(ctx) {
		if err := p.Kill(); err != nil {
			return err
		}
	}
	return p.Run().remove(p.spec.RunFile)
}

// ask stops the process through its API and says whether it has ended.
func (p *Process) ask(ctx context.Context) bool {
	if p.spec.Stop == nil || ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, p.spec.Grace)
	defer cancel()
	if err := p.spec.Stop(ctx, p.Run().Admin); err != nil {
		p.spec.Log.Debug("child not stopped by its API", "err", err, "pid", p.PID())
		return false // no need to wait for what it was not told
	}
	return p.ended(ctx)
}

func (p *Process) terminate(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, p.spec.Grace)
	defer cancel()
	if err := p.signal((*handle).terminate); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false
	}
	return p.ended(ctx)
}

// Kill ends the process at once, as when it hangs or has to be replaced, and
// waits for its end. The run file stays, with a dead child in it.
func (p *Process) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), killWait)
	defer cancel()
	err := p.signal((*handle).kill)
	if p.ended(ctx) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("killing %s (pid %d): %w", p.spec.Name, p.PID(), err)
	}
	return fmt.Errorf("%s (pid %d) is still there %v after SIGKILL", p.spec.Name, p.PID(), killWait)
}

// signal does nothing to a process that was reaped or released.
func (p *Process) signal(send func(*handle) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return os.ErrProcessDone
	}
	return send(p.h)
}

func (p *Process) ended(ctx context.Context) bool {
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
