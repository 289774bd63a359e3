package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// machine is where a run was made: numbers of two machines do not compare, and
// those of a busy one mean little.
type machine struct {
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	Kernel     string `json:"kernel"`
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"`
	Memory     string `json:"memory"`
	Go         string `json:"go"`
	LoadBefore string `json:"load_before"` // average of 1, 5 and 15 minutes
	LoadAfter  string `json:"load_after"`
}

func thisMachine() machine {
	return machine{
		OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Kernel:     firstLine(read("/proc/sys/kernel/osrelease")),
		CPU:        field(read("/proc/cpuinfo"), "model name"),
		Memory:     field(read("/proc/meminfo"), "MemTotal"),
		LoadBefore: load(),
	}
}

func load() string {
	f := strings.Fields(read("/proc/loadavg"))
	if len(f) < 3 {
		return unknown
	}
	return strings.Join(f[:3], " ")
}

const unknown = "unknown"

// read is a file of /proc; elsewhere than on Linux there is none.
func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	return string(b)
}

// field is the value in the first line "key : value".
func field(text, key string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return unknown
}

// binaries are what is measured.
type binaries struct{ p2prc, frps, frpc string }

// frpDir is where `make frp` puts the frp that p2prc is tested with most.
const frpDir = ".frp/0.70.1"

func findBinaries(ctx context.Context, o options, dir string) (b binaries, err error) {
	if b.frps, err = findFRP("frps", o.frps); err != nil {
		return b, err
	}
	if b.frpc, err = findFRP("frpc", o.frpc); err != nil {
		return b, err
	}
	if o.p2prc != "" {
		b.p2prc, err = filepath.Abs(o.p2prc)
		return b, err
	}
	b.p2prc = filepath.Join(dir, "p2prc")
	if runtime.GOOS == "windows" {
		b.p2prc += ".exe"
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.p2prc, "p2prc/cmd/p2prc").CombinedOutput(); err != nil {
		return b, fmt.Errorf("building p2prc: %w\n%s", err, out)
	}
	return b, nil
}

// findFRP is what the user named, else the pinned build, else what PATH has.
func findFRP(name, given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	pinned := filepath.Join(filepath.FromSlash(frpDir), name)
	if _, err := os.Stat(pinned); err == nil {
		return filepath.Abs(pinned)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("looking for %s: neither in %s (make frp) nor in PATH", name, frpDir)
	}
	return path, nil
}

// versions is what each binary says of itself.
func versions(ctx context.Context, b binaries) (map[string]string, error) {
	told := make(map[string]string)
	for name, c := range map[string][]string{
		"p2prc": {b.p2prc, "--version"}, "frps": {b.frps, "-v"}, "frpc": {b.frpc, "-v"},
	} {
		out, err := exec.CommandContext(ctx, c[0], c[1:]...).Output()
		if err != nil {
			return nil, fmt.Errorf("asking %s for its version: %w", c[0], err)
		}
		told[name] = strings.TrimSpace(strings.TrimPrefix(firstLine(string(out)), "p2prc"))
	}
	return told, nil
}
