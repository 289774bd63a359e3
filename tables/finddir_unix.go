//go:build !windows

package tables

import "path/filepath"

// userDir is where this user's state belongs by the XDG base directory
// specification, which says that a relative $XDG_STATE_HOME is to be ignored.
func userDir(getenv func(string) string) string {
	if state := getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "p2prc")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "p2prc")
	}
	return ""
}
