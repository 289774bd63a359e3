//go:build !windows

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// write leaves the temporary file and the rename to renameio, and adds the sync
// of the directory: renameio has none (v2.0.2, read in its source), so after a
// power loss the rename could be gone.
func write(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	// Without a directory of ours renameio tries $TMPDIR first. It creates the
	// file with 0600 and only then widens it to perm.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(perm))
	if err != nil {
		return err
	}
	// After the rename there is nothing left to clean. Before it the error
	// above all others is the one that is returned.
	defer func() { _ = f.Cleanup() }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(dir)
}

func rename(from, to string) error { return os.Rename(from, to) }

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil // some network and FUSE file systems have no such operation
	}
	return err
}
