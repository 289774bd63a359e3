package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"p2prc/admin/frptest"
	"p2prc/supervisor/child"
)

// patience bounds every wait of the scripts with real frp: a loaded machine
// with the race detector takes its time.
const patience = 45 * time.Second

// lastHost numbers the loopback addresses: each script's reverse proxy has one
// of its own, so that scripts do not meet.
var lastHost atomic.Uint32

// TestRoles runs the built command as a user does: as processes of their own,
// with real frps and frpc.
func TestRoles(t *testing.T) {
	for _, name := range []string{"frps", "frpc"} {
		frptest.Path(t, name, frptest.Version) // built before the clock of a script runs
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/roles",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			host := fmt.Sprintf("127.40.%d.%d", 1+os.Getpid()%250, lastHost.Add(1))
			frp := strconv.Itoa(int(frptest.Port(t)))
			env.Setenv("HOST", host)
			env.Setenv("FRP", frp)
			env.Setenv("ESC", "\x1b")
			env.Setenv("NL", "\n")
			env.Setenv("RP", "-s --reverse-proxy --public-address "+host+" --listen "+host+":8088 --frp-port "+frp+" --state-dir rp")
			env.Setenv("PATH", filepath.Dir(frptest.Path(t, "frps", frptest.Version))+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "xdg-config"))
			env.Setenv("CONFIGURATION_DIRECTORY", filepath.Join(env.WorkDir, "config"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "xdg-state"))
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			w := &world{t: env.T(), running: make(map[string]*process)}
			env.Values[worldKey{}] = w
			env.Defer(func() { w.end(env) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exitsInTime, "start": start, "signal": signalTo, "ends": ends, "waitfor": waitFor, "waitfile": waitFile,
			"capture": capture, "pid": pid, "alive": alive, "kill9": kill9, "service": service, "fetch": fetch, "say": say, "within": within, "same": same, "waitup": waitUp,
			"keeps": keeps, "able": able, "unable": unable,
		},
	})
}

type worldKey struct{}

// world is what a script started.
type world struct {
	t       testscript.T
	running map[string]*process
	closers []func()
}

// process is a p2prc in the background; what it writes is in NAME.out and
// NAME.err.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func of(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// end ends what a script left, and fails it if it left an frp: those that it
// means to leave it has to end.
func (w *world) end(env *testscript.Env) {
	for _, p := range w.running {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	for _, name := range []string{"frps", "frpc"} {
		runs, _ := filepath.Glob(filepath.Join(env.WorkDir, "*", "private", name+".run"))
		for _, run := range runs {
			if proc, _, err := child.Adopt(child.Spec{Name: name, Path: run, RunFile: run, LogFile: run + ".log"}); err == nil {
				_ = proc.Kill()
			}
		}
	}
	for _, f := range w.closers {
		f()
	}
}

// start runs p2prc in the background, its process in $NAME_pid: start NAME ARG...
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME ARG...")
	}
	name := args[0]
	if p := of(ts).running[name]; p != nil {
		select {
		case <-p.done:
		default:
			ts.Fatalf("%s still runs", name)
		}
	}
	cmd := p2prc(ts, args[1:])
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	ts.Check(cmd.Start())
	p := &process{cmd, make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
	of(ts).running[name] = p
	ts.Setenv(name+"_pid", strconv.Itoa(cmd.Process.Pid))
}

// p2prc is the command as the script would run it. The first argument may be
// a variable such as $RP, which stands for several.
func p2prc(ts *testscript.TestScript, args []string) *exec.Cmd {
	if strings.HasPrefix(args[0], "-s ") {
		args = append(strings.Fields(args[0]), args[1:]...)
	}
	cmd := exec.Command(lookPath(ts, "p2prc"), args...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
	return cmd
}

// exitsInTime runs p2prc to its end, which has to come, and checks its exit
// code: exits CODE ARG...
func exitsInTime(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	cmd := p2prc(ts, args[1:])
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	ts.Check(cmd.Start())
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = cmd.Wait() // how it ended is in ProcessState
	_, _ = ts.Stdout().Write(out.Bytes())
	_, _ = ts.Stderr().Write(errs.Bytes())
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("p2prc ended with %s, want %s\n%s%s", got, args[0], out.String(), errs.String())
	}
}

func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "SYSTEMROOT", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "CONFIGURATION_DIRECTORY", "P2PRC_TOKEN", "GOCOVERDIR"} {
		if value := ts.Getenv(key); value != "" {
			env = append(env, key+"="+value)
		}
	}
	return env
}

func lookPath(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
			return filepath.Join(dir, name)
		}
	}
	ts.Fatalf("%s is not in the script's PATH", name)
	return ""
}

func started(ts *testscript.TestScript, name string) *process {
	p := of(ts).running[name]
	if p == nil {
		ts.Fatalf("%s was not started", name)
	}
	return p
}

// signalTo sends a signal to p2prc: signal NAME INT|TERM|USR2|KILL
func signalTo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME INT|TERM|USR2|KILL")
	}
	sig := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "USR2": leaveSignal, "KILL": os.Kill}[args[1]]
	ts.Check(started(ts, args[0]).cmd.Process.Signal(sig))
}

// ends waits for the end of p2prc and checks its exit code, -1 for one that
// was killed: ends NAME CODE
func ends(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ends NAME CODE")
	}
	p := started(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end:\n%s", args[0], said(ts))
	}
	if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ended with %s, want %s:\n%s", args[0], got, args[1], said(ts))
	}
}

// said is all that the processes of the script have written, for a failure.
func said(ts *testscript.TestScript) string {
	var b strings.Builder
	files, _ := filepath.Glob(ts.MkAbs("*.err"))
	outs, _ := filepath.Glob(ts.MkAbs("*.out"))
	for _, file := range append(files, outs...) {
		if text, err := os.ReadFile(file); err == nil {
			fmt.Fprintf(&b, "-- %s --\n%s", filepath.Base(file), text)
		}
	}
	return b.String()
}

// within runs a command and fails when it takes longer: within DURATION exits CODE ARG...
func within(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "exits" {
		ts.Fatalf("usage: within DURATION exits CODE ARG...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	began := time.Now()
	exitsInTime(ts, false, args[2:])
	if took := time.Since(began); took > limit {
		ts.Fatalf("it took %v, want at most %v", took, limit)
	}
}

// waitFor runs p2prc until its output matches: waitfor [!] REGEXP ARG...
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] waitfor REGEXP ARG...")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var last []byte
	poll(ts, func() bool {
		cmd := p2prc(ts, args[1:])
		last, err = cmd.CombinedOutput()
		return err == nil && re.Match(last) != neg
	}, func() string { return fmt.Sprintf("the last output was\n%s%v\n%s", last, err, said(ts)) })
}

// waitFile waits until a file matches: waitfile REGEXP FILE
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfile REGEXP FILE")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	poll(ts, func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		return err == nil && re.Match(text)
	}, func() string { return said(ts) })
}

func poll(ts *testscript.TestScript, done func() bool, why func() string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(limit) {
			ts.Fatalf("it never came: %s", why())
		}
	}
}

// capture puts what a group matched into a variable: capture VAR REGEXP FILE
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture VAR REGEXP FILE")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	text := ts.ReadFile(args[2])
	m := re.FindStringSubmatch(text)
	if len(m) != 2 {
		ts.Fatalf("%s does not match %s:\n%s", args[2], args[1], text)
	}
	ts.Setenv(args[0], m[1])
}

// pid puts the process of a run file into a variable.
// It waits until one is recorded, and is another than OLD: pid VAR DIR
// frps|frpc [OLD]
func pid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: pid VAR DIR frps|frpc [OLD]")
	}
	old := 0
	if len(args) == 4 {
		old = number(ts, args[3])
	}
	var run child.Run
	var err error
	poll(ts, func() bool {
		run, err = child.ReadRun(ts.MkAbs(filepath.Join(args[1], "private", args[2]+".run")))
		return err == nil && run.PID != 0 && run.PID != old
	}, func() string { return fmt.Sprint(err) })
	ts.Setenv(args[0], strconv.Itoa(run.PID))
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

// alive checks that a process runs: [!] alive PID
func alive(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] alive PID")
	}
	if runs(number(ts, args[0])) == neg {
		ts.Fatalf("process %s: alive %v", args[0], neg)
	}
}

// runs is false for a zombie too: an orphan is collected when its new parent,
// process 1, gets around to it.
func runs(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, rest, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(rest, "Z")
	}
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

// same compares two words: [!] same ONE OTHER
func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || (args[0] == args[1]) == neg {
		ts.Fatalf("%q", args)
	}
}

// kill9 kills a process: kill9 PID
func kill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill9 PID")
	}
	p, err := os.FindProcess(number(ts, args[0]))
	ts.Check(err)
	ts.Check(p.Kill())
}

// service opens one on loopback and puts its port into a variable: service
// VAR http|tcp|udp|mute|deaf [ADDR]. The first says hello, tcp and udp send back
// what they get, mute is a mail server that knows no TLS, deaf says nothing.
func service(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: service VAR http|tcp|udp|mute|deaf [ADDR]")
	}
	at := "127.0.0.1:0"
	if len(args) == 3 {
		at = args[2]
	}
	var addr net.Addr
	w := of(ts)
	switch args[1] {
	case "udp":
		conn, err := net.ListenPacket("udp4", at)
		ts.Check(err)
		addr = conn.LocalAddr()
		w.closers = append(w.closers, closing(conn, func() { echoUDP(conn) }))
	case "http":
		ln, err := net.Listen("tcp4", at)
		ts.Check(err)
		addr = ln.Addr()
		srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			io.WriteString(rw, "hello\n")
		})}}
		srv.Start()
		w.closers = append(w.closers, srv.Close)
	default:
		ln, err := net.Listen("tcp4", at)
		ts.Check(err)
		addr = ln.Addr()
		w.closers = append(w.closers, closing(ln, func() { serveTCP(ln, args[1]) }))
	}
	_, port, err := net.SplitHostPort(addr.String())
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// closing runs serve until the result is called.
func closing(c io.Closer, serve func()) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve()
	}()
	return func() { c.Close(); <-done }
}

func echoUDP(conn net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(buf[:n], from)
	}
}

func serveTCP(ln net.Listener, kind string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			switch kind {
			case "mute":
				_, _ = io.WriteString(c, "220 mail\r\n")
			case "deaf":
				_, _ = io.Copy(io.Discard, c)
			default:
				_, _ = io.Copy(c, c)
			}
		})
	}
}

// fetch prints what an HTTP GET brings: [!] fetch URL
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] fetch URL")
	}
	text, err := get(args[0])
	_, _ = io.WriteString(ts.Stdout(), text)
	if (err == nil) == neg {
		ts.Fatalf("%s: %v", args[0], err)
	}
}

func get(url string) (string, error) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(text), err
}

// waitUp waits until an HTTP GET brings hello: waitup URL
func waitUp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitup URL")
	}
	var got string
	var err error
	poll(ts, func() bool {
		got, err = get(args[0])
		return got == "hello\n"
	}, func() string { return fmt.Sprintf("%s: %q, %v\n%s", args[0], got, err, said(ts)) })
}

// keeps checks that what stood in a file was moved aside, whole: keeps FILE COPY
func keeps(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: keeps FILE COPY")
	}
	aside, _ := filepath.Glob(ts.MkAbs(args[0] + ".*"))
	for _, file := range aside {
		if ts.ReadFile(file) == ts.ReadFile(args[1]) {
			return
		}
	}
	ts.Fatalf("nothing beside %s is %s: %q", args[0], args[1], aside)
}

// able ends the script where this host cannot run the command, and says so:
// able COMMAND ARG...
func able(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: able COMMAND ARG...")
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		unable(ts, false, []string{fmt.Sprintf("%s: %v: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))})
	}
}

// unable ends the script, with the reason, as a skipped test that is counted:
// unable REASON
func unable(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).t.Skip("cannot run here: " + strings.Join(args, " "))
}

// say sends a word to an echo and wants it back: say tcp|udp ADDR WORD
func say(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: say tcp|udp ADDR WORD")
	}
	conn, err := net.Dial(args[0]+"4", args[1])
	ts.Check(err)
	defer conn.Close()
	buf := make([]byte, len(args[2]))
	for range 40 { // datagrams get lost
		if _, err = conn.Write([]byte(args[2])); err != nil {
			break
		}
		ts.Check(conn.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err = io.ReadFull(conn, buf); err == nil || args[0] == "tcp" {
			break
		}
	}
	if err != nil || string(buf) != args[2] {
		ts.Fatalf("%s answers %q, %v", args[1], buf, err)
	}
}
