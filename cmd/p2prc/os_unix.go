//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var leaveSignal os.Signal = syscall.SIGUSR2

// isClosedPipe reports that nobody reads what is written any more.
func isClosedPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// unread reports that w is a pipe or socket whose reader has gone, which
// otherwise only the next write would tell.
func unread(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}

// actAsOwner makes root the user to whom the state directory belongs, for good:
// what root leaves there would lock the service out, which has a user of its own.
func actAsOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return nil // who needs the directory will say so
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	for _, become := range []func() error{
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setgid(int(owner.Gid)) },
		func() error { return syscall.Setuid(int(owner.Uid)) },
	} {
		if err := become(); err != nil {
			return fmt.Errorf("acting as user %d, to whom %s belongs: %w", owner.Uid, dir, err)
		}
	}
	return nil
}

// terminalGone tells, when asked, whether the terminal is gone that this process
// had at first. The kernel takes it away from the whole session before anyone
// gets SIGHUP for it.
func terminalGone() func() bool {
	has := func() bool {
		f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY, 0)
		if err == nil {
			f.Close()
		}
		return err == nil
	}
	had := has()
	return func() bool { return had && !has() }
}

// inJournal compares f with what systemd says goes to its journal: "device:inode"
// (systemd.exec(5), $JOURNAL_STREAM). The variable alone says nothing, children
// with other files inherit it.
func inJournal(f *os.File, stream string) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)
}
