package control

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reach makes a path that a unix socket takes of one that is too long for it:
// by way of an open descriptor of its directory. done closes that.
func reach(path string) (short string, done func(), err error) {
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path)), func() { _ = unix.Close(dir) }, nil
}
