//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var leaveSignal os.Signal = syscall.SIGUSR2

// isClosedPipe reports that nobody reads what is written any more.
func isClosedPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

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
