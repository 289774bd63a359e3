package tables

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// SystemDir is the state directory of a p2prc that runs as root.
const SystemDir = "/var/lib/p2prc"

// FindDir is the state directory: the --state-dir flag, $P2PRC,
// $STATE_DIRECTORY (systemd), SystemDir as root, else p2prc in the user's state
// directory, whichever is set first. It is absolute and need not exist.
func FindDir(flag string, getenv func(string) string) (string, error) {
	return findDir(flag, getenv, os.Geteuid() == 0)
}

func findDir(flag string, getenv func(string) string, root bool) (string, error) {
	dir := flag
	if dir == "" {
		dir = getenv("P2PRC")
	}
	if dir == "" {
		// A unit may have several; the first is the one it means (systemd.exec(5)).
		if list := filepath.SplitList(getenv("STATE_DIRECTORY")); len(list) > 0 {
			dir = list[0]
		}
	}
	if dir == "" && root {
		dir = SystemDir
	}
	if dir == "" {
		dir = userDir(getenv)
	}
	if dir == "" {
		return "", errors.New("no state directory: neither $P2PRC nor a home directory is set")
	}
	// Children run in directories of their own, so a relative path would lead
	// them elsewhere.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the state directory %s: %w", dir, err)
	}
	return abs, nil
}
