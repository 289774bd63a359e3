package tables

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockName = "lock"
	lockPerm = 0o644 // so that anyone may ask who holds it

	// Holder has a shared lock for an instant, in every view; that must not
	// look like a second p2prc.
	lockPatience = 500 * time.Millisecond
	lockPause    = 5 * time.Millisecond
)

// lock is the held lock of a state directory: an advisory one that the
// operating system drops with the process, on a file that is never deleted
// (whoever deletes it lets two holders in). The holder's process ID stands in
// the file for people and for LockedError, from the second byte on: Windows
// lets nobody read the byte that is locked.
type lock struct {
	path string
	held *flock.Flock
}

// takeLock waits no longer than other readers' instants explain.
func takeLock(dir string) (*lock, error) {
	path := filepath.Join(dir, lockName)
	l := &lock{path: path, held: flock.New(path, flock.SetPermissions(lockPerm))}
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	_, err := l.held.TryLockContext(ctx, lockPause)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &LockedError{Path: dir, PID: lockPID(path)}
	}
	if err != nil {
		return nil, unusable(path, err)
	}
	if err := l.write(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		_ = l.held.Close() // the write's error says more
		return nil, unusable(path, err)
	}
	return l, nil
}

func (l *lock) release() error {
	err := l.write("")
	return errors.Join(err, l.held.Close())
}

// write puts text behind the locked byte.
func (l *lock) write(text string) error {
	f, err := os.OpenFile(l.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(lockPerm); err != nil { // the umask may have taken some
		return err
	}
	if _, err := f.WriteAt([]byte(text), 1); err != nil {
		return err
	}
	return f.Truncate(int64(1 + len(text)))
}

// lockPID is the process ID in the lock file, or 0.
func lockPID(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	buf := make([]byte, 20)
	n, _ := f.ReadAt(buf, 1) // io.EOF is the rule here
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// Holder tells whether a p2prc holds the state directory at path, and its
// process ID where it says so. Any user that may read the directory may ask.
func Holder(path string) (pid int, held bool, err error) {
	file := filepath.Join(path, lockName)
	probe := flock.New(file, flock.SetFlag(os.O_RDONLY)) // never makes the file
	free, err := probe.TryRLock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, unusable(file, err)
	case free:
		return 0, false, probe.Close()
	}
	return lockPID(file), true, nil
}

// heldSince tells whether a p2prc holds the state directory at path, and since
// when: it wrote its process ID then.
func heldSince(path string) (since time.Time, held bool, err error) {
	if _, held, err = Holder(path); !held || err != nil {
		return time.Time{}, false, err
	}
	info, err := os.Stat(filepath.Join(path, lockName))
	if err != nil {
		return time.Time{}, false, unusable(path, err)
	}
	return info.ModTime(), true, nil
}
