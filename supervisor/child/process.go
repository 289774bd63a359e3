package child

import (
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a running frps or frpc, started or adopted. Its methods may be
// called from any goroutine.
type Process struct {
	spec    Spec
	cmd     *exec.Cmd // nil: adopted
	h       *handle
	log     *logFile
	started time.Time

	wg       sync.WaitGroup
	released chan struct{}
	once     sync.Once // closes released
	done     chan struct{}
	exit     Exit // read it only after done

	mu   sync.Mutex // guards gone: nobody signals a process that was reaped
	gone bool

	runMu sync.Mutex // guards run and orders the writes of the run file
	run   Run
}

// status is how a process ended, as far as the system tells.
type status struct {
	known  bool
	code   int
	signal syscall.Signal
}

func newProcess(s Spec, cmd *exec.Cmd, h *handle, l *logFile, r Run, started time.Time) *Process {
	p := &Process{
		spec: s, cmd: cmd, h: h, log: l, run: r, started: started,
		released: make(chan struct{}), done: make(chan struct{}),
	}
	p.wg.Go(p.watch)
	p.wg.Go(p.keepLog)
	return p
}

// watch waits for the end of the process.
func (p *Process) watch() {
	ended := p.h.wait()
	p.mu.Lock()
	p.gone = true
	var st status
	if ended {
		st = p.h.reap(p.cmd) // does not block: it has ended
	}
	p.h.close()
	p.mu.Unlock()
	if !ended {
		return
	}
	tail, err := p.log.tail()
	if err != nil {
		p.spec.Log.Debug("log not read", "err", err, "path", p.spec.LogFile)
	}
	p.exit = Exit{
		Known: st.known, Code: st.code, Signal: st.signal,
		Adopted: p.cmd == nil, Ran: max(0, time.Since(p.started)), Tail: tail,
	}
	close(p.done)
}

// logCheck is how often the size of the log is looked at: one fstat, and one
// waking up of an idle p2prc. frp logs warnings alone.
const logCheck = 5 * time.Second

// keepLog holds the log within bounds as long as the child writes to it.
func (p *Process) keepLog() {
	defer p.log.close()
	tick := time.NewTicker(logCheck)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-p.released:
			return
		case <-tick.C:
			if err := p.log.cut(); err != nil {
				p.spec.Log.Debug("log not cut", "err", err, "path", p.spec.LogFile)
			}
		}
	}
}

// Release stops watching and leaves the process and its run file as they are,
// for a later p2prc to adopt. Done is not closed unless the process had already
// ended. Afterwards the Process can only be asked for facts.
func (p *Process) Release() {
	p.once.Do(func() {
		close(p.released)
		p.h.release()
		p.wg.Wait()
		if p.cmd != nil {
			_ = p.cmd.Process.Release() // it may have been collected already
		}
	})
}

// PID is the number of the process.
func (p *Process) PID() int { return p.h.pid }

// Run is what the run file holds.
func (p *Process) Run() Run {
	p.runMu.Lock()
	defer p.runMu.Unlock()
	return p.run
}

// Started is when the process was started, by this p2prc or an earlier one.
func (p *Process) Started() time.Time { return p.started }

// Done is closed once the process has ended and Exit is known.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is how the process ended; zero before Done is closed.
func (p *Process) Exit() Exit {
	select {
	case <-p.done:
		return p.exit
	default:
		return Exit{}
	}
}

// UpdateRun records which config the child has after a reload.
func (p *Process) UpdateRun(common, mappings string) error {
	p.runMu.Lock()
	defer p.runMu.Unlock()
	p.run.Common, p.run.Mappings = common, mappings
	return p.run.write(p.spec.RunFile)
}

// Upgraded says whether a restart would run another binary than the one that
// runs now. A file that is missing, as in the middle of an upgrade, does not
// count.
func (p *Process) Upgraded() bool {
	now, err := stampOf(p.spec.Path)
	if err != nil || now.equal(p.Run().Binary) {
		return false
	}
	same, err := sameContent(p.spec.Path, runningFile(p.h.pid))
	return err != nil || !same
}

// Format prints the name and the pid: the rest holds secrets.
func (p *Process) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, fmt.Sprint(p.Run())) }

// LogValue is the Process in a log, without its secrets.
func (p *Process) LogValue() slog.Value { return p.Run().LogValue() }
