//go:build unix

package frptest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"p2prc/admin/frptest"
)

// host is a directory that stands for PATH: a few real tools, and whatever
// frp, package manager and Go toolchain the test puts there. Its user is not
// root: root's frp would go to /usr/local/bin of the machine that runs the test.
type host struct {
	t   *testing.T
	dir string
}

func newHost(t *testing.T) host {
	t.Helper()
	h := host{t, t.TempDir()}
	for _, tool := range []string{"sh", "awk", "sed", "uname", "mkdir", "mktemp", "mv", "rm", "cat", "chmod", "pwd"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(h.dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	h.put("id", "echo 1000")
	return h
}

func (h host) put(name, script string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		h.t.Fatal(err)
	}
}

func (h host) install(args ...string) (out string, exit int) {
	h.t.Helper()
	cmd := exec.Command("sh", append([]string{filepath.Join("..", "..", "scripts", "install-frp.sh")}, args...)...)
	cmd.Env = []string{"PATH=" + h.dir, "HOME=" + h.t.TempDir(), "HOST=" + h.dir}
	b, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		h.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// installs is a package manager that puts this version of frp on PATH.
func installs(version string) string {
	return `for name in frps frpc; do
	printf '#!/bin/sh\necho ` + version + `\n' >"$HOST/$name"
	chmod +x "$HOST/$name"
done`
}

func TestInstall(t *testing.T) {
	const ready = "frp is ready"
	tests := []struct {
		name string
		host map[string]string // command -> script
		args []string
		exit int
		says string
	}{
		{"on PATH", map[string]string{"frps": "echo 0.61.0", "frpc": "echo 0.70.1"}, nil, 0, ready},
		{"newer than any known", map[string]string{"frps": "echo 1.0.0", "frpc": "echo 0.100.2"}, nil, 0, ready},
		{"too old", map[string]string{"frps": "echo 0.60.9", "frpc": "echo 0.60.9"}, nil, 1, "p2prc needs 0.61.0 or newer"},
		{"one too old", map[string]string{"frps": "echo 0.61.0", "frpc": "echo 0.52.3"}, nil, 1, "frpc is version 0.52.3"},
		{"prints nothing", map[string]string{"frps": "true", "frpc": "true"}, nil, 1, "p2prc needs 0.61.0"},
		{"does not run", map[string]string{"frps": "exit 126", "frpc": "echo 0.61.0"}, nil, 1, "does not run"},
		{"nothing anywhere", nil, nil, 1, "no way to install frp here"},
		{"only PATH", map[string]string{"brew": installs("0.70.1")}, []string{"--from", "path"}, 1, "frps: not on PATH"},
		{"package", map[string]string{"brew": installs("0.65.0")}, nil, 0, "running: brew install frps frpc"},
		{"package too old", map[string]string{"brew": installs("0.44.0")}, nil, 1, "is version 0.44.0"},
		{"package manager that fails", map[string]string{"brew": "exit 1"}, nil, 1, "it did not install frp"},
		{"package manager that only says so", map[string]string{"brew": "true"}, nil, 1, "frps: not on PATH"},
		{"root needed, not root", map[string]string{"apk": installs("0.65.0")}, nil, 1, "--sudo would run: sudo apk add frp"},
		{"root needed, allowed", map[string]string{"apk": installs("0.65.0"), "sudo": `"$@"`}, []string{"--sudo"}, 0, "running: sudo apk add frp"},
		{"root", map[string]string{"apk": installs("0.65.0"), "id": "echo 0"}, nil, 0, "running: apk add frp"},
		{"source of another hash", map[string]string{"go": `echo '{
	"Dir": "/nowhere",
	"Sum": "h1:AAAA"
}'`}, nil, 1, "nothing was built"},
		{"source not to be had", map[string]string{"go": `echo '{
	"Error": "dial tcp: no route"
}'; exit 1`}, nil, 1, "fetching frp 0.70.1: dial tcp: no route"},
		{"build that says it is another", map[string]string{"go": builds("0.65.0")}, nil, 1, "says it is 0.65.0, expected 0.70.1"},
		{"build", map[string]string{"go": builds("0.70.1")}, nil, 0, ready},
		{"unknown version", nil, []string{"--version", "0.52.3"}, 2, "not one that p2prc is tested with"},
		{"unknown argument", nil, []string{"--yes"}, 2, "unknown argument --yes"},
		{"version from a package", nil, []string{"--from", "package", "--version", "0.61.0"}, 2, "need --from go"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			for name, script := range test.host {
				_ = os.Remove(filepath.Join(h.dir, name)) // the real tool
				h.put(name, script)
			}
			out, exit := h.install(test.args...)
			if exit != test.exit || !strings.Contains(out, test.says) {
				t.Errorf("exit %d, want %d; want %q in:\n%s", exit, test.exit, test.says, out)
			}
			if strings.Contains(out, ready) != (exit == 0) {
				t.Errorf("exit %d after:\n%s", exit, out)
			}
		})
	}
}

// builds is a Go toolchain whose frp says that it is this version.
func builds(version string) string {
	return `case $1 in
mod) printf '{\n\t"Dir": "/nowhere",\n\t"Sum": "h1:PRZ7YEXfjVVd0br7ERCuHZEA8fww1nAtAno7uwyAQi0="\n}\n' ;;
build)
	while [ "$1" != -o ]; do shift; done
	for name in frps frpc; do
		printf '#!/bin/sh\necho ` + version + `\n' >"$2/$name"
		chmod +x "$2/$name"
	done ;;
esac`
}

func TestInstall_leavesOnlyThePair(t *testing.T) {
	h := newHost(t)
	h.put("go", builds(frptest.Version))
	dir := filepath.Join(t.TempDir(), "deep", "bin")
	if out, exit := h.install("--dir", dir); exit != 0 {
		t.Fatalf("exit %d:\n%s", exit, out)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "frpc frps" {
		t.Errorf("left %s, want frpc frps", got)
	}
}
