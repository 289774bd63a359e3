package child

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// bootID changes with every start of the machine.
func bootID() (string, error) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return id, nil
}

const zombie = 5 // SZOMB of sys/proc.h

func wrongFormat(err error) bool {
	return errors.Is(err, unix.ENOEXEC) || errors.Is(err, unix.EBADARCH)
}

func inspect(pid int) (facts, error) {
	kp, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if errors.Is(err, unix.EIO) { // an empty answer
		return facts{}, errGone
	}
	if err != nil {
		return facts{}, fmt.Errorf("inspecting pid %d: %w", pid, err)
	}
	start := kp.Proc.P_starttime
	return facts{
		start:  fmt.Sprintf("%d.%06d", start.Sec, start.Usec),
		ended:  kp.Proc.P_stat == zombie,
		parent: int(kp.Eproc.Ppid),
		exe:    exeOf(pid),
	}, nil
}

// exeOf reads the path the process was started from: after the count of its
// arguments it comes first in their memory.
func exeOf(pid int) Exe {
	b, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(b) < 4 {
		return Exe{}
	}
	path, _, _ := bytes.Cut(b[4:], []byte{0})
	return Exe{Path: string(path)}
}

func (e Exe) same(f Exe) bool { return e == f }

// runningFile is empty: there is no way to a binary that was replaced on disk.
func runningFile(int) string { return "" }

func openOutput(_ int, path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
}

// findOrphan finds nothing: an orphan without a pid in the run file keeps its
// ports, and the next start says which port is in use.
func findOrphan(string) int { return 0 }

// There are no pidfds; see handle.wait for what stands in for them.

func openPidfd(int) *os.File { return nil }

func awaitPidfd(*os.File) bool { return false }

func signalPidfd(*os.File, unix.Signal) error { return errors.ErrUnsupported }
