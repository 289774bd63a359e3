package tables

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// LockedError says that another p2prc holds the state directory.
type LockedError struct {
	Path string // the state directory
	PID  int    // of the holder; 0 if it has not said yet
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("another p2prc holds %s", e.Path)
	}
	return fmt.Sprintf("another p2prc (pid %d) holds %s", e.PID, e.Path)
}

// UnusableError says that the state directory or a table in it cannot be used,
// and what to do about it. It never stands for "there is none".
type UnusableError struct {
	Path string // the very file or directory
	Err  error
	Hint string // a way out; may be empty
}

func (e *UnusableError) Error() string { return fmt.Sprintf("%s cannot be used: %v", e.Path, e.Err) }

// Unwrap is the cause.
func (e *UnusableError) Unwrap() error { return e.Err }

// unusable wraps what an operation on path failed with; the operating system's
// errors repeat the path, so only their cause is kept.
func unusable(path string, err error) *UnusableError {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	e := &UnusableError{Path: path, Err: err}
	switch {
	case errors.Is(err, syscall.EROFS):
		e.Hint = "mount it writable, or pass --state-dir=PATH"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "run p2prc as its owner, or pass --state-dir=PATH"
	case errors.Is(err, syscall.ENOSPC):
		e.Hint = "make space on that disk"
	case errors.Is(err, syscall.ENOTDIR):
		e.Hint = "move that file away, or pass --state-dir=PATH"
	}
	return e
}
