package tables

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	dirPerm     = 0o755 // anyone may read the tables: they hold no secrets
	privatePerm = 0o700 // keys, tokens, frp configs, run files, logs
	privateName = "private"
)

// Dir is a state directory that this process holds.
type Dir struct {
	path string
	lock *lock
}

// OpenDir makes the state directory if need be, checks that nobody else can
// read or exchange what is private in it, and takes its lock. The error is a
// *LockedError or an *UnusableError.
func OpenDir(path string) (*Dir, error) {
	if err := makeDir(path, dirPerm); err != nil {
		return nil, err
	}
	if err := checkDir(path, 0o002); err != nil {
		return nil, err
	}
	private := filepath.Join(path, privateName)
	if err := makeDir(private, privatePerm); err != nil {
		return nil, err
	}
	if err := checkDir(private, 0o077); err != nil {
		return nil, err
	}
	l, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	return &Dir{path: path, lock: l}, nil
}

// Path is the directory itself.
func (d *Dir) Path() string { return d.path }

// Private is the path of a file or directory in the private part, or of that
// part itself when no name is given.
func (d *Dir) Private(name ...string) string {
	return filepath.Join(append([]string{d.path, privateName}, name...)...)
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.release() }

// makeDir makes path with exactly these permissions, whatever the umask is, and
// leaves those of an existing one alone: they are its owner's choice.
func makeDir(path string, perm fs.FileMode) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return unusable(path, syscall.ENOTDIR)
	case !errors.Is(err, fs.ErrNotExist):
		return unusable(path, err)
	}
	if err := os.MkdirAll(path, perm); err != nil {
		return unusable(path, err)
	}
	if err := os.Chmod(path, perm); err != nil {
		return unusable(path, err)
	}
	return nil
}

// checkDir refuses a directory of another user, and one that grants any of the
// permissions in forbidden: whoever can write to the state directory can put a
// private directory of his own in the place of ours.
func checkDir(path string, forbidden fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return unusable(path, err)
	}
	if err := checkOwner(info); err != nil {
		return &UnusableError{Path: path, Err: err, Hint: "run p2prc as its owner, or pass --state-dir=PATH"}
	}
	mode := info.Mode().Perm()
	if loose := looseBits(info, forbidden); loose != 0 {
		return &UnusableError{
			Path: path,
			Err:  fmt.Errorf("its mode %04o lets other users in", mode),
			Hint: fmt.Sprintf("chmod %04o %s", mode&^loose|0o700, path),
		}
	}
	if mode&0o700 != 0o700 {
		return &UnusableError{
			Path: path,
			Err:  fmt.Errorf("its mode %04o keeps its owner out", mode),
			Hint: fmt.Sprintf("chmod %04o %s", mode|0o700, path),
		}
	}
	return nil
}
