//go:build !windows

package identity

import (
	"fmt"
	"io/fs"
)

// checkPrivate refuses a secret that group or others can read, change or run.
func checkPrivate(info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("mode %04o lets others use this secret", perm)
	}
	return nil
}
