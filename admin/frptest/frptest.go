// Package frptest runs the real frps and frpc in tests: it finds or builds the
// pinned binaries, hands out ports that no other test gets, and ends what it
// started. Not here: an admin API that misbehaves (admin/admintest).
package frptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Version is the frp that tests run unless they compare versions.
const Version = "0.70.1"

// Versions are the frp releases that p2prc is tested with, oldest first.
// 0.61.0 is the oldest one it accepts; 0.65.0 has the old admin API's error
// shapes and the slow relogin.
var Versions = []string{"0.61.0", "0.65.0", "0.70.1"}

// Path is the file of frps or frpc in this version: below $P2PRC_FRP_DIR, or
// .frp at the top of the repository. A missing one is built, which takes
// minutes once; a test is never skipped for want of frp.
func Path(t testing.TB, name, version string) string {
	t.Helper()
	root := repository(t)
	dir := os.Getenv("P2PRC_FRP_DIR")
	if dir == "" {
		dir = filepath.Join(root, ".frp")
	}
	dir = filepath.Join(dir, version)
	file := filepath.Join(dir, name)
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	if _, err := os.Stat(file); err == nil {
		return file
	}
	script := filepath.Join(root, "scripts", "install-frp.sh")
	build := exec.Command("sh", script, "--from", "go", "--version", version, "--dir", dir)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building frp %s: %v\n%s\ntry it by hand: %s", version, err, out, build)
	}
	if _, err := os.Stat(file); err != nil {
		t.Fatalf("frp %s was built, but not where it is looked for: %v", version, err)
	}
	return file
}

// repository is the directory of the go.mod that the test belongs to.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("finding the repository: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("finding the repository: no go.mod above the working directory")
		}
		dir = up
	}
}
