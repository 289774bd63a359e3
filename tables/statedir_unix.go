//go:build !windows

package tables

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkOwner refuses what belongs to another user: its owner could exchange the
// keys, and files that root leaves in it would lock its owner out.
func checkOwner(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, p2prc runs as user %d", st.Uid, os.Geteuid())
	}
	return nil
}

// looseBits are the forbidden permissions that are granted.
func looseBits(info fs.FileInfo, forbidden fs.FileMode) fs.FileMode {
	return info.Mode().Perm() & forbidden
}
