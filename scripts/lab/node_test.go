//go:build linux

package lab

import (
	"cmp"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"p2prc/admin/frptest"
)

// node is a p2prc on a host, with a state directory that outlives its runs.
type node struct {
	*process // the current run; nil before the first

	host host
	name string
	dir  string
	args []string // of every run
}

func (h host) node(name string, args ...string) *node {
	t := h.lab.whole
	n := &node{host: h, name: name, dir: filepath.Join(t.TempDir(), "state")}
	n.args = append([]string{"-s", "--name", name, "--state-dir", n.dir, "--log-level", "info"}, args...)
	t.Cleanup(func() { // after the end of its last run
		for _, name := range []string{"frps.log", "frpc.log"} {
			log := filepath.Join(n.dir, "private", name)
			if _, err := os.Stat(log); err == nil && t.Failed() {
				t.Logf("%s of %s:\n%s", name, n.name, tail(log))
			}
		}
	})
	return n
}

// run starts p2prc, without waiting. What is given here holds for this run.
func (n *node) run(env []string, more ...string) {
	n.host.lab.t.Helper()
	command := append([]string{os.Getenv(envProgram)}, n.args...)
	n.process = n.host.start("p2prc "+n.name, env, append(command, more...)...)
	n.host.lab.whole.Cleanup(func() {
		if n.ended() {
			return
		}
		if n.host.lab.whole.Failed() {
			n.host.lab.whole.Logf("rows of %s:\n%s", n.name, n.ask("--view-rpm", "--json"))
		}
		n.stop()
	})
}

// frpVersion is the frp that p2prc runs: $P2PRC_LAB_FRP asks for another one
// of frptest.Versions than the pinned one.
func frpVersion() string { return cmp.Or(os.Getenv("P2PRC_LAB_FRP"), frptest.Version) }

// readyLimit bounds the start of a reverse proxy, which takes 0.2 s.
const readyLimit = 15 * time.Second

// reverseProxy runs p2prc on the public host and waits until it says ready.
func (l *lab) reverseProxy() *node {
	l.t.Helper()
	n := l.pub.reverseProxy("edge", "--public-address", pubAddr)
	n.run(nil)
	n.awaitReady()
	return n
}

// reverseProxy is one on the host. It is not started.
func (h host) reverseProxy(name string, flags ...string) *node {
	h.lab.t.Helper()
	return h.node(name, append([]string{"--reverse-proxy", "--frps", frptest.Path(h.lab.t, "frps", frpVersion())}, flags...)...)
}

func (n *node) awaitReady() {
	n.host.lab.t.Helper()
	await(n.host.lab.t, n.name+" is ready", readyLimit, func() error { return n.says("ready ") })
}

// says looks for text on stdout.
func (n *node) says(text string) error {
	if n.ended() {
		n.host.lab.t.Fatalf("%s ended with exit %d: %s", n.name, n.exit(0), n.stderr())
	}
	if !strings.Contains(n.stdout(), text) {
		return missing{text, n.stdout()}
	}
	return nil
}

// server is a p2prc on the LAN host that is to be reached by way of upstream.
// It is not started.
func (l *lab) server(name, upstream string, maps ...string) *node {
	l.t.Helper()
	return l.lan.server(name, []string{upstream}, maps...)
}

// server is a p2prc on the host that is to be reached by way of any of these.
func (h host) server(name string, upstreams []string, maps ...string) *node {
	h.lab.t.Helper()
	args := []string{"--frpc", frptest.Path(h.lab.t, "frpc", frpVersion())}
	for _, u := range upstreams {
		args = append(args, "--connect-reverse-proxy", u)
	}
	for _, m := range maps {
		args = append(args, "--map", m)
	}
	return h.node(name, args...)
}

// ask runs p2prc on the node's state directory, as the local user would, and
// returns stdout. Anything but exit 0 fails the test.
func (n *node) ask(flags ...string) string {
	n.host.lab.t.Helper()
	return n.askBy([]string{os.Getenv(envProgram)}, flags...)
}

// askOnHost is ask for what needs the host's network.
func (n *node) askOnHost(flags ...string) string {
	n.host.lab.t.Helper()
	return n.askBy(n.host.inNamespace(os.Getenv(envProgram)), flags...)
}

func (n *node) askBy(program []string, flags ...string) string {
	n.host.lab.t.Helper()
	cmd := exec.Command(program[0], append(append(program[1:], flags...), "--state-dir", n.dir)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CONFIGURATION_DIRECTORY=" + n.dir}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		n.host.lab.t.Fatalf("p2prc %s at %s: %v\n%s", strings.Join(flags, " "), n.name, err, &stderr)
	}
	return string(out)
}

// joinString is what admits a server at this reverse proxy.
func (n *node) joinString() string {
	n.host.lab.t.Helper()
	return strings.TrimSpace(n.ask("--join-string"))
}

// stop asks p2prc to end, and checks that its frp went with it.
func (n *node) stop() {
	n.host.lab.t.Helper()
	n.process.stop()
	for _, name := range []string{"frps", "frpc"} {
		if pid := n.frp(name); pid != 0 {
			n.host.lab.t.Errorf("%s: %s (process %d) outlived an orderly stop", n.name, name, pid)
		}
	}
}

// leave makes p2prc go while its tunnels stay, as an upgrade does.
func (n *node) leave() {
	n.host.lab.t.Helper()
	n.signal(syscall.SIGUSR2)
	if code := n.exit(stopLimit); code != 0 {
		n.host.lab.t.Errorf("%s: exit %d after SIGUSR2, want 0", n.name, code)
	}
}

// frp is the pid of this node's frps or frpc, 0 if none runs. There may be
// several nodes on a host: the configuration file tells them apart.
func (n *node) frp(name string) int {
	for _, pid := range n.host.pids() {
		if comm(pid) == name && strings.Contains(commandLine(pid), n.dir+"/") {
			return pid
		}
	}
	return 0
}

// killFRP kills this node's frps or frpc with SIGKILL and returns its pid.
func (n *node) killFRP(name string) int {
	n.host.lab.t.Helper()
	pid := n.frp(name)
	if pid == 0 {
		n.host.lab.t.Fatalf("%s: no %s runs", n.name, name)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		n.host.lab.t.Fatalf("killing %s: %v", name, err)
	}
	return pid
}

// secretsAreHidden fails if a file outside private/ can hold a secret, or if
// one inside can be read by others.
func (n *node) secretsAreHidden(secrets ...string) {
	n.host.lab.t.Helper()
	err := filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeType != 0 {
			return err
		}
		inside := strings.HasPrefix(path, filepath.Join(n.dir, "private")+"/")
		for _, secret := range secrets {
			if strings.Contains(read(path), secret) && (!inside || filepath.Ext(path) == ".log") {
				n.host.lab.t.Errorf("%s holds a secret", path)
			}
		}
		info, err := d.Info()
		if err == nil && inside && info.Mode().Perm()&0o077 != 0 {
			n.host.lab.t.Errorf("%s: mode %v lets others in", path, info.Mode())
		}
		return err
	})
	if err != nil {
		n.host.lab.t.Error(err)
	}
	for _, secret := range secrets {
		if strings.Contains(n.stderr(), secret) {
			n.host.lab.t.Errorf("%s writes a secret to its log", n.name)
		}
		for _, pid := range n.host.pids() {
			if pid != n.pid() && strings.Contains(commandLine(pid), secret) {
				n.host.lab.t.Errorf("the arguments of %s (process %d) hold a secret", comm(pid), pid)
			}
		}
	}
}
