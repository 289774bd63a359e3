package child

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openPidfd returns a pidfd that Go's poller watches, nil where that cannot be
// had: before Linux 5.3, under an old seccomp profile, out of descriptors.
func openPidfd(pid int) *os.File {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil { // only such files get to the poller
		_ = unix.Close(fd)
		return nil
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if f.SetReadDeadline(time.Time{}) != nil { // the poller did not take it
		_ = f.Close()
		return nil
	}
	return f
}

// awaitPidfd returns true once the process is a zombie or gone, false once f
// was closed. It needs no OS thread while it waits.
func awaitPidfd(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	ended := false
	err = conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		ended = err == nil && n > 0
		return ended
	})
	return err == nil && ended
}

// signalPidfd sends sig to the process group that the process leads (Linux 6.9),
// else to the process alone: a group's number may by then be another's.
func signalPidfd(f *os.File, sig unix.Signal) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) {
		sent = unix.PidfdSendSignal(int(fd), sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		if errors.Is(sent, unix.EINVAL) {
			sent = unix.PidfdSendSignal(int(fd), sig, nil, 0)
		}
	}); err != nil {
		return err
	}
	return sent
}
