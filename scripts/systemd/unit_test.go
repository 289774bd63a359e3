//go:build linux

// Package systemd tries p2prc's unit without a systemd that runs: this test
// does to p2prc what systemd would do by that file, with real frp behind it.
// Not here: the protocol of sd_notify (supervisor/notify).
package systemd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"p2prc/admin/frptest"
	"p2prc/supervisor/child"
)

const patience = 60 * time.Second

// program is the built p2prc.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "p2prc-unit-")
	if err == nil {
		program = filepath.Join(dir, "p2prc")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", program, "p2prc/cmd/p2prc").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "building p2prc: %v\n", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// settings are the lines of the unit; of a repeated one the last.
func settings(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("p2prc.service")
	if err != nil {
		t.Fatal(err)
	}
	s := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(string(text), -1) {
		s[m[1]] = m[2]
	}
	return s
}

var signals = map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGUSR2": syscall.SIGUSR2}

// unit is p2prc.service on a host of its own, and what systemd knows of it.
type unit struct {
	t        *testing.T
	settings map[string]string
	dir      string // of config, state and socket
	env      []string
	cmd      *exec.Cmd
	socket   *net.UnixConn
	ready    chan string // the status with which it became ready
	status   atomic.Pointer[string]
	fed      atomic.Int64 // watchdog
	exited   chan error
	begun    int64 // where the journal of this start begins
}

func newUnit(t *testing.T, config string) *unit {
	t.Helper()
	u := &unit{t: t, settings: settings(t), dir: t.TempDir()}
	for name, want := range map[string]string{
		"Type": "notify", "KillMode": "process", "Restart": "always", "ExecStart": "/usr/bin/p2prc -s", "StateDirectory": "p2prc",
	} {
		if got := u.settings[name]; got != want {
			t.Fatalf("%s=%s, and this test does what %s means", name, got, want)
		}
	}
	for _, dir := range []string{"config", "state"} {
		if err := os.Mkdir(filepath.Join(u.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(u.dir, "config", "p2prc.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.reap)
	return u
}

func (u *unit) state() string { return filepath.Join(u.dir, "state") }

// start starts the program and returns the status of READY=1.
func (u *unit) start() string {
	u.t.Helper()
	u.exec()
	select {
	case status := <-u.ready:
		return status
	case err := <-u.exited:
		u.t.Fatalf("it ended before it was ready: %v", err)
	case <-time.After(patience):
		u.t.Fatal("it is never ready")
	}
	return ""
}

func (u *unit) exec() {
	u.t.Helper()
	name := filepath.Join(u.dir, "notify")
	_ = os.Remove(name) // of the run before
	var err error
	if u.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"}); err != nil {
		u.t.Fatal(err)
	}
	watchdog, err := time.ParseDuration(u.settings["WatchdogSec"])
	if err != nil {
		u.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(u.dir, "journal"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		u.t.Fatal(err)
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		u.t.Fatal(err)
	}
	u.begun = info.Size()
	// The shell is for the umask and for its own pid, which exec keeps.
	u.cmd = exec.Command("sh", "-c", "umask "+u.settings["UMask"]+"; WATCHDOG_PID=$$ exec "+program+" -s")
	u.cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG=C.UTF-8", "USER=p2prc",
		"STATE_DIRECTORY=" + u.state(), "CONFIGURATION_DIRECTORY=" + filepath.Join(u.dir, "config"),
		u.settings["Environment"], "NOTIFY_SOCKET=" + name, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()),
	}, u.env...)
	u.cmd.Stdout, u.cmd.Stderr = log, log
	u.status.Store(nil)
	u.ready, u.exited = make(chan string, 1), make(chan error, 1)
	go u.listen(u.socket, u.ready)
	if err := u.cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	cmd, exited := u.cmd, u.exited
	go func() {
		exited <- cmd.Wait()
		close(exited) // whoever asks later need not wait
	}()
}

func (u *unit) listen(socket *net.UnixConn, ready chan<- string) {
	buf := make([]byte, 8192)
	for {
		n, err := socket.Read(buf)
		if err != nil {
			return
		}
		message := map[string]string{}
		for line := range strings.SplitSeq(string(buf[:n]), "\n") {
			key, value, _ := strings.Cut(line, "=")
			message[key] = value
		}
		if status, ok := message["STATUS"]; ok {
			u.status.Store(&status)
		}
		if message["READY"] == "1" {
			ready <- message["STATUS"]
		}
		if message["WATCHDOG"] == "1" {
			u.fed.Add(1)
		}
	}
}

// kill sends a signal to the main process alone, which is what KillMode=process
// means, and waits for its end.
func (u *unit) kill(sig syscall.Signal) error {
	u.t.Helper()
	u.signal(sig)
	return u.wait()
}

func (u *unit) signal(sig syscall.Signal) {
	u.t.Helper()
	if err := u.cmd.Process.Signal(sig); err != nil {
		u.t.Fatal(err)
	}
}

func (u *unit) wait() error {
	u.t.Helper()
	defer u.socket.Close()
	select {
	case err := <-u.exited:
		return err
	case <-time.After(patience):
		u.t.Fatal("it does not end")
		return nil
	}
}

// restart is systemctl restart.
func (u *unit) restart() string {
	u.t.Helper()
	if err := u.kill(signals[u.settings["RestartKillSignal"]]); err != nil {
		u.t.Fatalf("leaving: %v", err)
	}
	return u.start()
}

// stop is systemctl stop.
func (u *unit) stop() {
	u.t.Helper()
	if err := u.kill(signals[u.settings["KillSignal"]]); err != nil {
		u.t.Errorf("stopping: %v", err)
	}
}

// awaitStatus waits until systemctl status would show it.
func (u *unit) awaitStatus(pattern string) {
	u.t.Helper()
	last := ""
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-time.After(2 * time.Millisecond) {
		if s := u.status.Load(); s != nil {
			if last = *s; regexp.MustCompile(pattern).MatchString(last) {
				return
			}
		}
	}
	u.t.Fatalf("the status is %q, want %s", last, pattern)
}

// awaitJournal waits for a line in what the running p2prc prints.
func (u *unit) awaitJournal(words string) {
	u.t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-time.After(2 * time.Millisecond) {
		journal, err := os.ReadFile(filepath.Join(u.dir, "journal"))
		if err != nil {
			u.t.Fatal(err)
		}
		if bytes.Contains(journal[u.begun:], []byte(words)) {
			return
		}
	}
	u.t.Fatalf("it never says %q", words)
}

func (u *unit) run(name string) child.Run {
	u.t.Helper()
	run, err := child.ReadRun(filepath.Join(u.state(), "private", name+".run"))
	if err != nil {
		u.t.Fatal(err)
	}
	return run
}

// gone awaits the end of a child.
func (u *unit) gone(name string, pid int) {
	u.t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); <-time.After(2 * time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return
		}
	}
	u.t.Errorf("%s (%d) outlived the stop", name, pid)
}

// reap ends what a failed test left behind, and shows the journal of one.
func (u *unit) reap() {
	if u.cmd != nil && u.cmd.Process != nil {
		_ = u.cmd.Process.Kill() // it is gone already where all went well
		<-u.exited
		u.socket.Close()
	}
	for _, name := range []string{"frps", "frpc"} {
		run := filepath.Join(u.state(), "private", name+".run")
		if proc, _, err := child.Adopt(child.Spec{Name: name, RunFile: run}); err == nil {
			proc.Kill()
		}
	}
	if u.t.Failed() {
		journal, err := os.ReadFile(filepath.Join(u.dir, "journal"))
		u.t.Logf("%v\n%s", err, journal)
	}
}

// ask runs a command of the local user.
func (u *unit) ask(args ...string) string {
	u.t.Helper()
	cmd := exec.Command(program, append(args, "--state-dir", u.state())...)
	cmd.Env = []string{"CONFIGURATION_DIRECTORY=" + u.dir}
	out, err := cmd.Output()
	if err != nil {
		u.t.Fatalf("%s: %v", cmd, err)
	}
	return strings.TrimSpace(string(out))
}

// hosts is one reverse proxy and one server, each under its unit.
type hosts struct {
	proxy, server *unit
	address       netip.Addr
	service       net.Listener
}

var nextAddress atomic.Int32

func newHosts(t *testing.T, token bool) *hosts {
	t.Helper()
	// Tests of two checkouts may run at once: the process is part of the address.
	h := &hosts{address: netip.AddrFrom4([4]byte{127, 41, byte(os.Getpid()), byte(1 + nextAddress.Add(1))})}
	var err error
	if h.service, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.service.Close() })
	go echo(h.service)
	h.proxy = newUnit(t, fmt.Sprintf("reverse-proxy = true\nname = \"edge\"\npublic-address = %q\nlisten = \"%[1]s:8088\"\nfrp-port = 7000\nports = \"20000-20099\"\nfrps = %q\n",
		h.address, frptest.Path(t, "frps", frptest.Version)))
	if status := h.proxy.start(); !strings.HasPrefix(status, "reverse proxy edge at "+h.address.String()+":8088") {
		t.Errorf("status %q", status)
	}
	h.server = newUnit(t, fmt.Sprintf("connect-reverse-proxy = %q\nname = \"pi\"\nmap = [\"echo=%d\"]\nfrpc = %q\n",
		h.address, h.service.Addr().(*net.TCPAddr).Port, frptest.Path(t, "frpc", frptest.Version)))
	if token {
		// As in p2prc.env.
		h.server.env = []string{"P2PRC_CONNECT_REVERSE_PROXY=" + h.proxy.ask("--join-string")}
	}
	return h
}

func echo(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 64)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				if _, err := conn.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// public is where the echo service is reached.
func (h *hosts) public(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(h.server.ask("--view-rpm", "--no-headers", "--name=echo")) {
		return strings.Fields(line)[0]
	}
	t.Fatal("there is no row")
	return ""
}

// users are connections that talk all the time, and new ones that come in.
type users struct {
	said, dialled atomic.Int64
	errs          chan error
	stop          context.CancelFunc
	done          []chan struct{}
}

func (us *users) fail(err error) {
	select {
	case us.errs <- err:
	default:
	}
}

func talk(t *testing.T, address string, count int) *users {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	us := &users{errs: make(chan error, 1), stop: stop}
	each := func(f func() error) {
		done := make(chan struct{})
		us.done = append(us.done, done)
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				if err := f(); err != nil {
					us.fail(err)
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
	}
	for range count {
		conn, err := net.DialTimeout("tcp4", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		n := 0
		each(func() error {
			n++
			us.said.Add(1)
			return exchange(conn, strconv.Itoa(n))
		})
	}
	each(func() error {
		conn, err := net.DialTimeout("tcp4", address, patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		us.dialled.Add(1)
		return exchange(conn, "hello")
	})
	t.Cleanup(stop)
	return us
}

func exchange(conn net.Conn, word string) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(word)); err != nil {
		return fmt.Errorf("saying %s: %w", word, err)
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil {
		return fmt.Errorf("hearing %s: %w", word, err)
	}
	if got := string(buf[:n]); got != word {
		return fmt.Errorf("said %s and heard %s", word, got)
	}
	return nil
}

// end reports whether anybody was cut off.
func (us *users) end(t *testing.T) {
	t.Helper()
	us.stop()
	for _, done := range us.done {
		<-done
	}
	select {
	case err := <-us.errs:
		t.Errorf("a connection was dropped: %v", err)
	default:
	}
	t.Logf("%d exchanges on lasting connections, %d new ones, none dropped unless it says so", us.said.Load(), us.dialled.Load())
}

// The main promise of the unit: restarts, upgrades and a crash of p2prc leave
// every connection alone.
func TestUnit_restartKeepsTheTunnels(t *testing.T) {
	t.Parallel()
	h := newHosts(t, true)
	if status := h.server.start(); !strings.Contains(status, "2 of 2 mappings up, reachable at "+h.address.String()) {
		t.Errorf("status %q", status)
	}
	frps, frpc := h.proxy.run("frps").PID, h.server.run("frpc").PID
	for name, pid := range map[string]int{"frps": frps, "frpc": frpc} {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || strings.Contains(string(environ), "NOTIFY_SOCKET") || strings.Contains(string(environ), "WATCHDOG") {
			t.Errorf("%s can speak for p2prc: %q, %v", name, environ, err)
		}
	}
	for file, want := range map[string]os.FileMode{"": 0o755, "reverse_proxy_mapping.json": 0o644, "private": 0o700, "private/node.key": 0o600} {
		info, err := os.Stat(filepath.Join(h.server.state(), file))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %o", file, info.Mode(), err, want)
		}
	}
	us := talk(t, h.public(t), 20)

	for range 2 {
		h.server.restart()
		h.server.awaitStatus(`^2 of 2 mappings up`)
		h.proxy.restart()
		h.server.awaitStatus(`^2 of 2 mappings up`)
	}
	// Both at once, as an upgrade of two hosts by one command may do.
	for _, u := range []*unit{h.proxy, h.server} {
		u.signal(signals[u.settings["RestartKillSignal"]])
	}
	for _, u := range []*unit{h.proxy, h.server} {
		if err := u.wait(); err != nil {
			t.Errorf("leaving: %v", err)
		}
		u.start()
	}
	h.server.awaitStatus(`^2 of 2 mappings up`)
	// The watchdog's signal, and what the kernel sends when memory is short.
	for _, sig := range []syscall.Signal{syscall.SIGABRT, syscall.SIGKILL} {
		for _, u := range []*unit{h.server, h.proxy} {
			_ = u.kill(sig)
			// An exit code would count, and Go's own is that of wrong usage.
			if ended := u.cmd.ProcessState.Sys().(syscall.WaitStatus); ended.Signal() != sig {
				t.Errorf("%v, not by %v: it would not be started again", u.cmd.ProcessState, sig)
			}
			u.start()
		}
		h.server.awaitStatus(`^2 of 2 mappings up`)
	}
	us.end(t)
	if a, b := h.proxy.run("frps").PID, h.server.run("frpc").PID; a != frps || b != frpc {
		t.Errorf("frps %d, frpc %d, before %d and %d", a, b, frps, frpc)
	}

	h.server.stop()
	h.server.gone("frpc", frpc)
	h.proxy.stop()
	h.proxy.gone("frps", frps)
}

// A node that nobody has allowed yet has started all the same.
func TestUnit_knock(t *testing.T) {
	t.Parallel()
	h := newHosts(t, false)
	status := h.server.start()
	m := regexp.MustCompile(`^waiting to be allowed; .* p2prc --allow (\S+)$`).FindStringSubmatch(status)
	if m == nil {
		t.Fatalf("status %q", status)
	}
	h.proxy.ask("--allow", m[1])
	h.server.awaitStatus(`^2 of 2 mappings up`)
	h.server.stop()
	h.proxy.stop()
}

// A reverse proxy that is away holds up neither the boot nor a restart, and
// the tunnels that frp alone keeps up stay.
func TestUnit_proxyAway(t *testing.T) {
	t.Parallel()
	h := newHosts(t, true)
	h.server.start()
	us := talk(t, h.public(t), 3)
	frpc := h.server.run("frpc").PID
	if err := h.proxy.kill(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	if status := h.server.restart(); !strings.Contains(status, h.address.String()+":8088") {
		t.Errorf("status %q", status)
	}
	h.proxy.start()
	h.server.awaitStatus(`^2 of 2 mappings up`)
	us.end(t)
	if got := h.server.run("frpc").PID; got != frpc {
		t.Errorf("frpc %d, before %d", got, frpc)
	}
	h.server.stop()
	h.proxy.stop()
}

// A stop that meets p2prc while it starts ends what the one before left: here
// the proxy is frozen, so that the start lasts.
func TestUnit_stopWhileStarting(t *testing.T) {
	t.Parallel()
	h := newHosts(t, true)
	h.server.start()
	frpc := h.server.run("frpc").PID
	if err := h.server.kill(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	h.proxy.signal(syscall.SIGSTOP)
	h.server.exec()
	h.server.awaitJournal("connecting to the reverse proxy")
	h.server.stop()
	h.server.gone("frpc", frpc)
	h.proxy.signal(syscall.SIGCONT)
	h.proxy.stop()
}

func TestUnit_watchdogIsFed(t *testing.T) {
	t.Parallel()
	h := newHosts(t, true)
	h.proxy.settings["WatchdogSec"], h.server.settings["WatchdogSec"] = "300ms", "300ms"
	h.proxy.restart()
	h.server.start()
	for _, u := range []*unit{h.proxy, h.server} {
		limit := time.Now().Add(patience)
		for u.fed.Load() < 3 {
			if time.Now().After(limit) {
				t.Fatalf("fed %d times", u.fed.Load())
			}
			<-time.After(2 * time.Millisecond)
		}
	}
	h.server.stop()
	h.proxy.stop()
}

// What is wrong for good is not tried again and again.
func TestUnit_doesNotRestart(t *testing.T) {
	t.Parallel()
	h := newHosts(t, false)
	h.server.env = []string{"P2PRC_TOKEN=qzmvkx7wtpl2hfe9ynb4rjd8sgc3ua6oi5"}
	for _, tt := range []struct {
		name string
		u    *unit
		want string
	}{{"not configured", newUnit(t, ""), "2"}, {"refused", h.server, "6"}} {
		tt.u.exec()
		_ = tt.u.wait() // the code says more
		code := strconv.Itoa(tt.u.cmd.ProcessState.ExitCode())
		list := strings.Fields(tt.u.settings["RestartPreventExitStatus"])
		if code != tt.want || !slices.Contains(list, code) {
			t.Errorf("%s: exit code %s, want %s; restarts end at %s", tt.name, code, tt.want, list)
		}
	}
	h.proxy.stop()
}

// TestUnit_verify asks systemd itself, where it is installed.
func TestUnit_verify(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze")
	}
	text, err := os.ReadFile("p2prc.service")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "p2prc.service")
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "/usr/bin/p2prc", program, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	// 0 is shut, 10 is open; syslog-like services of Debian have 9.
	const limit = "--threshold=20"
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", limit, file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// What root does with the service's state directory is done as the service's
// user, which root's files would lock out.
func TestUnit_rootActsAsItsUser(t *testing.T) {
	t.Parallel()
	u := newUnit(t, "")
	uid := os.Geteuid()
	if uid == 0 {
		uid = 54321
		if err := os.Chmod(filepath.Dir(u.dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(u.state(), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	u.ask("--allow", strings.Repeat("a", 32))
	for _, file := range []string{"lock", "private", "private/nodes.json"} {
		info, err := os.Stat(filepath.Join(u.state(), file))
		if err != nil {
			t.Fatal(err)
		}
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != uid {
			t.Errorf("%s belongs to user %d, want %d", file, got, uid)
		}
	}
}
