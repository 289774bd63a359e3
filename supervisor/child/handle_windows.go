package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/windows"
)

// inherited is what a child gets of p2prc's environment; sockets do not work
// without SystemRoot.
var inherited = []string{"PATH", "USERPROFILE", "SystemRoot", "TEMP"}

// detached takes the child off the console: no Ctrl-C reaches it, and it stays
// when the window is closed.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}

// handle stands for one process: while it is open the pid is not given away.
type handle struct {
	pid   int
	facts facts

	process  windows.Handle
	once     sync.Once
	released chan struct{}
}

// facts is what the system says of a process.
type facts struct {
	start string // creation time, in the system's own measure
	ended bool
	exe   Exe
}

func wrongFormat(err error) bool { return errors.Is(err, windows.ERROR_BAD_EXE_FORMAT) }

// errGone says that there is no process with that pid.
var errGone = errors.New("the process has ended")

func openHandle(pid int, _ bool) (*handle, error) {
	const access = windows.SYNCHRONIZE | windows.PROCESS_TERMINATE | windows.PROCESS_QUERY_LIMITED_INFORMATION
	p, err := windows.OpenProcess(access, false, uint32(pid))
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) || errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, errGone // no such pid, or it is another user's by now
	}
	if err != nil {
		return nil, fmt.Errorf("inspecting pid %d: %w", pid, err)
	}
	h := &handle{pid: pid, process: p, released: make(chan struct{})}
	if h.facts, err = inspect(p); err != nil {
		h.close()
		return nil, fmt.Errorf("inspecting pid %d: %w", pid, err)
	}
	return h, nil
}

func inspect(p windows.Handle) (facts, error) {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(p, &created, &exited, &kernel, &user); err != nil {
		return facts{}, err
	}
	f := facts{start: strconv.FormatInt(created.Nanoseconds(), 10)}
	event, err := windows.WaitForSingleObject(p, 0)
	if err != nil {
		return facts{}, err
	}
	f.ended = event == windows.WAIT_OBJECT_0
	path := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(path))
	if err := windows.QueryFullProcessImageName(p, 0, &path[0], &n); err == nil {
		f.exe.Path = windows.UTF16ToString(path[:n])
	}
	return f, nil
}

// releasePoll is how soon wait notices a release.
const releasePoll = 100 // ms

// wait returns true once the process has ended, false after release.
func (h *handle) wait() bool {
	for {
		event, err := windows.WaitForSingleObject(h.process, releasePoll)
		if err == nil && event == windows.WAIT_OBJECT_0 {
			return true
		}
		select {
		case <-h.released:
			return false
		default:
		}
	}
}

func (h *handle) release() { h.once.Do(func() { close(h.released) }) }

// close frees what the handle holds; wait must have returned.
func (h *handle) close() { _ = windows.CloseHandle(h.process) }

// terminate is not to be had: a detached process gets no signal.
func (h *handle) terminate() error { return errors.ErrUnsupported }

func (h *handle) kill() error { return windows.TerminateProcess(h.process, 1) }

func (h *handle) reap(cmd *exec.Cmd) status {
	if cmd != nil {
		_ = cmd.Wait() // how it ended is read below
	}
	var code uint32
	if err := windows.GetExitCodeProcess(h.process, &code); err != nil {
		return status{}
	}
	return status{known: true, code: int(code)}
}

func signalName(sig syscall.Signal) string { return sig.String() }

func fileNumber(fs.FileInfo) (dev, ino uint64) { return 0, 0 }

func openOutput(_ int, path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
}

// bootID is the same always: creation times are absolute, not since the boot.
func bootID() (string, error) { return "windows", nil }

func (e Exe) same(f Exe) bool { return e == f }

// runningFile is empty: a running binary cannot be replaced in its place.
func runningFile(int) string { return "" }

// findOrphan finds nothing: an orphan without a pid in the run file keeps its
// ports, and the next start says which port is in use.
func findOrphan(string) int { return 0 }
