//go:build linux || darwin

package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inherited is what a child gets of p2prc's environment.
var inherited = []string{"PATH", "HOME"}

// detached gives the child a session of its own: no signal that a terminal
// sends to p2prc's process group reaches it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// handle stands for one process, never for another that got its pid later.
type handle struct {
	pid   int
	own   bool // our child: its pid is not given away before reap
	facts facts

	pidfd    *os.File // nil where the system has none
	once     sync.Once
	released chan struct{}
}

// facts is what the system says of a process.
type facts struct {
	start   string // when it started, in the system's own measure
	ended   bool   // it is a zombie that its parent has not collected
	parent  int
	session int
	exe     Exe
}

// errGone says that there is no process with that pid.
var errGone = errors.New("the process has ended")

// openHandle takes hold of the process first and looks at it afterwards: what
// it finds is then true of the process it holds.
func openHandle(pid int, own bool) (*handle, error) {
	h := &handle{pid: pid, own: own, pidfd: openPidfd(pid), released: make(chan struct{})}
	var err error
	if h.facts, err = inspect(pid); err != nil && !own {
		h.release()
		return nil, err
	}
	return h, nil
}

// exitPoll is how soon the end of a process is noticed without a pidfd.
const exitPoll = 100 * time.Millisecond

// wait returns true once the process has ended, false after release.
func (h *handle) wait() bool {
	if h.pidfd != nil {
		return awaitPidfd(h.pidfd)
	}
	tick := time.NewTicker(exitPoll)
	defer tick.Stop()
	for {
		select {
		case <-h.released:
			return false
		case <-tick.C:
			if !h.there() {
				return true
			}
		}
	}
}

// there says whether the process still runs. Doubt counts as yes.
func (h *handle) there() bool {
	now, err := inspect(h.pid)
	switch {
	case errors.Is(err, errGone):
		return false
	case err != nil:
		return true
	}
	return !now.ended && (h.own || now.start == h.facts.start)
}

// release ends wait; the process is left alone.
func (h *handle) release() {
	h.once.Do(func() {
		close(h.released)
		if h.pidfd != nil {
			_ = h.pidfd.Close() // it was only read
		}
	})
}

// close frees what the handle holds.
func (h *handle) close() { h.release() }

// terminate asks the process to end; SIGCONT so that a stopped one hears it.
func (h *handle) terminate() error {
	err := h.signal(unix.SIGTERM)
	_ = h.signal(unix.SIGCONT) // it may have ended by now
	return err
}

func (h *handle) kill() error { return h.signal(unix.SIGKILL) }

// signal reaches the child's whole process group: stock frp never forks, a
// wrapper script may.
func (h *handle) signal(sig unix.Signal) error {
	switch {
	case h.own:
		return unix.Kill(-h.pid, sig)
	case h.pidfd != nil:
		return signalPidfd(h.pidfd, sig)
	case !h.there():
		return errGone
	}
	return unix.Kill(h.pid, sig)
}

// reap collects a process that has ended, with what is left of its group. The
// caller has seen wait return true, and lets nobody signal from here on.
func (h *handle) reap(cmd *exec.Cmd) status {
	_ = h.kill() // nothing left to kill is the usual case
	if cmd != nil {
		_ = cmd.Wait()               // how it ended is in ProcessState
		if cmd.ProcessState == nil { // somebody else collected it
			return status{}
		}
		return statusOf(cmd.ProcessState.Sys().(syscall.WaitStatus))
	}
	// An adopted process is a child of ours all the same when p2prc is PID 1 of
	// a container, or took another's place by exec.
	now, err := inspect(h.pid)
	if err != nil || !now.ended || now.start != h.facts.start || now.parent != os.Getpid() {
		return status{}
	}
	var ws syscall.WaitStatus
	if pid, err := syscall.Wait4(h.pid, &ws, syscall.WNOHANG, nil); err != nil || pid != h.pid {
		return status{}
	}
	return statusOf(ws)
}

func statusOf(ws syscall.WaitStatus) status {
	if ws.Signaled() {
		return status{known: true, code: -1, signal: ws.Signal()}
	}
	return status{known: true, code: ws.ExitStatus()}
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}

func fileNumber(fi fs.FileInfo) (dev, ino uint64) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), st.Ino // Dev is an int32 on darwin
	}
	return 0, 0
}
