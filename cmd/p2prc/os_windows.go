package main

import (
	"errors"
	"io"
	"os"
	"syscall"
)

var leaveSignal os.Signal // Windows has no signal to spare

// isClosedPipe reports that nobody reads what is written any more.
func isClosedPipe(err error) bool {
	const noData = syscall.Errno(232) // ERROR_NO_DATA: the pipe is being closed
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, noData)
}

// unread is never sure here: the next write tells.
func unread(io.Writer) bool { return false }

// actAsOwner has nothing to do: files belong to whom their directory does.
func actAsOwner(string) error { return nil }

// terminalGone holds for a console that is closed: the only SIGHUP there is here.
func terminalGone() func() bool { return func() bool { return true } }

// inJournal is for systemd, which is not here.
func inJournal(*os.File, string) bool { return false }
