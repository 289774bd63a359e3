//go:build linux

// Package lab tries p2prc as its users run it: the built program, stock frp, a
// host behind a real NAT, a public host and a stranger outside, each in a
// network namespace of its own. Not here: what one machine without namespaces
// can show (cmd/p2prc, supervisor).
//
// `go test ./scripts/lab` needs no root where user namespaces are allowed. Where
// they are not, or a command is missing, every test is skipped and says why, but
// in CI, which has both. frp is to be built first (make frp): inside the lab
// there is no way to the network.
package lab

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The environment by which a process of this test binary knows what it is.
const (
	envHelper  = "P2PRC_LAB_HELPER"  // one of helpers, instead of the tests
	envProgram = "P2PRC_LAB_PROGRAM" // the built p2prc: this process is inside the lab
)

// needed are the commands that the lab cannot do without, and the Debian
// packages they come in.
var needed = map[string]string{
	"curl": "curl", "go": "golang-go", "ip": "iproute2", "iperf3": "iperf3", "nft": "nftables",
	"sshd": "openssh-server", "unshare": "util-linux",
}

// noLab is why there can be no lab here.
var noLab string

func TestMain(m *testing.M) {
	if name := os.Getenv(envHelper); name != "" {
		os.Exit(help(name, os.Args[1:]))
	}
	if os.Getenv(envProgram) != "" {
		os.Exit(inside(m))
	}
	// Debian keeps what it thinks is for root only away from others.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		os.Exit(1)
	}
	noLab = cmp.Or(missingCommands(), tryNamespaces())
	switch {
	case noLab == "":
		fmt.Fprintf(os.Stderr, "lab: %v\n", enter())
	case os.Getenv("CI") != "":
		fmt.Fprintf(os.Stderr, "lab: %s\n", noLab)
	default:
		os.Exit(m.Run())
	}
	os.Exit(1)
}

// missingCommands says what the lab needs and does not find.
func missingCommands() string {
	var names, packages []string
	for name, pkg := range needed {
		if _, err := exec.LookPath(name); err != nil {
			names, packages = append(names, name), append(packages, pkg)
		}
	}
	if names == nil {
		return ""
	}
	slices.Sort(names)
	slices.Sort(packages)
	return fmt.Sprintf("not found: %s; try: apt-get install %s", strings.Join(names, ", "), strings.Join(packages, " "))
}

// unshare is how to run a command in namespaces in which we are root.
func unshare(command ...string) []string {
	return append([]string{"unshare", "-rnm", "--propagation", "private"}, command...)
}

// tryNamespaces says why there can be no lab. Mounting is tried too: where
// AppArmor restricts user namespaces one can enter but do nothing in them.
func tryNamespaces() string {
	try := unshare("mount", "-t", "tmpfs", "none", "/run")
	out, err := exec.Command(try[0], try[1:]...).CombinedOutput()
	if err == nil {
		return ""
	}
	return fmt.Sprintf("network namespaces are not to be had, neither as root nor by user namespaces: %s: %v: %s",
		strings.Join(try, " "), err, strings.TrimSpace(string(out)))
}

// enter builds p2prc, while there still is a network to fetch modules from,
// and runs this process anew inside namespaces. It only returns to fail. The
// process stays the same one, so go test can end it.
func enter() error {
	dir, err := os.MkdirTemp("", "p2prc-lab-")
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "p2prc")
	if out, err := exec.Command("go", "build", "-o", program, "p2prc/cmd/p2prc").CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return fmt.Errorf("building p2prc: %v\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	args := unshare(append([]string{self}, os.Args[1:]...)...)
	if err := syscall.Exec(path, args, append(os.Environ(), envProgram+"="+program)); err != nil {
		return fmt.Errorf("running %s: %w", path, err)
	}
	return nil
}

// atOnce is how many tests run at the same time: they wait more than they work.
const atOnce = "4"

// inside runs the tests. `ip netns` keeps its namespaces below /run, which is
// the host's until something is mounted there.
func inside(m *testing.M) int {
	defer os.RemoveAll(filepath.Dir(os.Getenv(envProgram)))
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		return 1
	}
	if err := syscall.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
		fmt.Fprintf(os.Stderr, "lab: mounting /run: %v\n", err)
		return 1
	}
	return m.Run()
}
