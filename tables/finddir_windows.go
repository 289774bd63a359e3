package tables

import "path/filepath"

// userDir is where this user's state belongs on Windows: a place that does not
// roam, because a node's key and ports belong to one machine.
func userDir(getenv func(string) string) string {
	if state := getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "p2prc")
	}
	if local := getenv("LOCALAPPDATA"); local != "" {
		return filepath.Join(local, "p2prc")
	}
	return ""
}
