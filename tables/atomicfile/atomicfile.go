// Package atomicfile puts a whole file in the place of another: at every
// instant, and after a crash or a power loss at any step, a reader finds the old
// content or the new one, complete. Not here: what is in the files (tables,
// frpconf, supervisor), and files that grow (the journal of package tables).
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Write makes data the content of the file at path, with exactly the
// permissions perm whatever the umask is: it writes beside it, syncs, renames
// and syncs the directory. On an error the old content is still there; the one
// exception is a directory that could not be synced, after which either may
// survive a power loss. On Windows perm only decides whether the file is
// read-only.
func Write(path string, data []byte, perm fs.FileMode) error {
	if err := write(path, data, perm); err != nil {
		return fmt.Errorf("writing %s: %w", path, cause(err))
	}
	return nil
}

// Replace is Write without the syncs, in a tenth of its time: whenever the
// process is killed a reader finds the old content or the new one, but after a
// power loss it may find anything. It is for files that count only while this
// boot lasts, or are written anew before they are read.
func Replace(path string, data []byte, perm fs.FileMode) error {
	if err := stage(path, data, perm, func(*os.File) error { return nil }); err != nil {
		return fmt.Errorf("writing %s: %w", path, cause(err))
	}
	return nil
}

// stage writes a temporary file beside path, does what else is to be done with
// it, and renames it.
func stage(path string, data []byte, perm fs.FileMode, finish func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"*")
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_ = f.Close() // harmless when it is closed already
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := finish(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := rename(f.Name(), path); err != nil {
		return err
	}
	done = true
	return nil
}

// Sweep removes the temporary files that a Write to path left beside it when
// its process was killed. Only the one that owns path may call it, and not
// during a Write: it would take that one's temporary file away.
func Sweep(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for leftovers of %s: %w", path, cause(err))
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !temporary(e.Name(), base) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a leftover of %s: %w", path, err)
		}
	}
	return nil
}

// temporary tells whether name is one that write gives to a temporary file of
// base: a dot, base and a random number.
func temporary(name, base string) bool {
	number, ok := strings.CutPrefix(name, "."+base)
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// cause is the error without the temporary name, which tells a user nothing.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
