package failpoint_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"p2prc/admin/frptest"
	"p2prc/supervisor/child"
	"p2prc/tables"
)

const (
	patience = 60 * time.Second // of every wait: the machine may be loaded
	// untrue is how long a row may say up while its address does not work. A
	// tunnel that is cut is found out by the canary: two misses, 5 s and 1 s
	// apart, of at most 2 s each.
	untrue = 12 * time.Second
)

// points are the moments at which p2prc is killed, by side. moment is what it
// does then.
var points = []struct {
	side   string // whose p2prc dies
	name   string
	moment moment
}{
	{"proxy", "proxy-frps-starting", starting},
	{"proxy", "proxy-frps-started", starting},
	{"proxy", "proxy-frps-ready", starting},
	{"proxy", "proxy-row-committed", starting},
	{"proxy", "proxy-reserving", serving},
	{"proxy", "proxy-book-committing", serving},
	{"proxy", "proxy-book-committed", serving},
	{"proxy", "proxy-reserved", serving},
	{"proxy", "proxy-gate-asked", serving},
	{"proxy", "proxy-gate-asked:2", serving},
	{"proxy", "proxy-guard-let-go", serving},
	{"proxy", "proxy-renewing", serving},
	{"proxy", "proxy-committing", serving},
	{"proxy", "proxy-committed", serving},
	{"proxy", "proxy-withdrawn", stopping},
	{"proxy", "proxy-frps-stopped", stopping},
	{"server", "server-reserving", serving},
	{"server", "server-reserved", serving},
	{"server", "server-lease-kept", serving},
	{"server", "server-port-dialled", serving},
	{"server", "server-frpc-starting", serving},
	{"server", "server-frpc-started", serving},
	{"server", "server-frpc-running", serving},
	{"server", "server-tunnel-probed", serving},
	{"server", "server-reported", serving},
	{"server", "server-committing", serving},
	{"server", "server-committed", serving},
	{"server", "server-frpc-reloading", remapping},
	{"server", "server-frpc-reloaded", remapping},
	{"server", "server-withdrawn", stopping},
	{"server", "server-released", stopping},
	{"server", "server-frpc-stopped", stopping},
}

type moment int

const (
	starting  moment = iota // before anyone can reach the proxy
	serving                 // from the first request to the row
	remapping               // started anew, with one mapping more
	stopping                // after a Ctrl-C
)

// TestCrash kills p2prc at every step of the protocol, on both sides, starts it
// again, and checks the crash matrix: the mapping comes up on the port that it
// had, no row ever calls up what does not work, every table can be read at any
// time, no process is started twice or left behind, and no reservation leaks.
func TestCrash(t *testing.T) {
	binary := build(t)
	frps, frpc := frptest.Path(t, "frps", frptest.Version), frptest.Path(t, "frpc", frptest.Version)
	slots := make(chan struct{}, 6) // most of the time is waiting
	for i, p := range points {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			slots <- struct{}{}
			defer func() { <-slots }()
			w := newWorld(t, binary, netip.AddrFrom4([4]byte{127, 41, byte(os.Getpid()), byte(i + 1)}), frps, frpc)
			w.crash(p.side, p.name, p.moment)
		})
	}
}

// TestPoints: every point in the code is one that TestCrash goes through.
func TestPoints(t *testing.T) {
	tested := make(map[string]bool)
	for _, p := range points {
		name, _, _ := strings.Cut(p.name, ":")
		tested[name] = true
	}
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	hit := regexp.MustCompile(`failpoint\.Hit\("([^"]+)"\)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range hit.FindAllSubmatch(text, -1) {
			if !tested[string(m[1])] {
				t.Errorf("%s: nothing dies at %s", filepath.Base(file), m[1])
			}
		}
	}
}

func build(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p2prc")
	cmd := exec.Command("go", "build", "-tags", "failpoint", "-o", file, "p2prc/cmd/p2prc")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building p2prc with failpoints: %v\n%s", err, out)
	}
	return file
}

// world is one reverse proxy and one server, with a service behind it and a
// stranger who uses what the tables offer.
type world struct {
	t       *testing.T
	binary  string
	dir     string
	host    netip.Addr
	frpPort uint16
	frps    string
	frpc    string
	service string // its port
	second  string
	logs    map[string]*bytes.Buffer
	running map[string]*process
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func newWorld(t *testing.T, binary string, host netip.Addr, frps, frpc string) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "p2prc") // short: a unix socket goes in it
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, binary: binary, dir: dir, host: host, frpPort: frptest.Port(t), frps: frps, frpc: frpc,
		logs: make(map[string]*bytes.Buffer), running: make(map[string]*process),
	}
	for _, port := range []*string{&w.service, &w.second} {
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello") }))
		t.Cleanup(srv.Close)
		_, *port, _ = net.SplitHostPort(srv.Listener.Addr().String())
	}
	t.Cleanup(func() {
		for _, p := range w.running {
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		for _, name := range []string{"frps", "frpc"} {
			run := filepath.Join(dir, map[string]string{"frps": "proxy", "frpc": "server"}[name], "private", name+".run")
			if proc, _, err := child.Adopt(child.Spec{Name: name, Path: run, RunFile: run, LogFile: run + ".log"}); err == nil {
				_ = proc.Kill()
			}
		}
		for side, log := range w.logs {
			if t.Failed() {
				t.Logf("%s said:\n%s", side, log)
			}
		}
		os.RemoveAll(dir)
	})
	return w
}

func (w *world) state(side string) string { return filepath.Join(w.dir, side) }

// run starts p2prc of one side, to die at point if that is not empty.
func (w *world) run(side, point string, more ...string) {
	w.t.Helper()
	at := netip.AddrPortFrom(w.host, 8088).String()
	args := []string{"-s", "--name", side, "--state-dir", w.state(side), "--log-level", "info"}
	switch side {
	case "proxy":
		args = append(args, "--reverse-proxy", "--public-address", w.host.String(), "--listen", at, "--frps", w.frps,
			"--frp-port", fmt.Sprint(w.frpPort), "--ports", "20000-20099")
	case "server":
		args = append(args, "--connect-reverse-proxy", at, "--map", "web="+w.service, "--frpc", w.frpc)
	}
	cmd := exec.Command(w.binary, append(args, more...)...)
	cmd.Env = append(os.Environ(), "P2PRC_TOKEN=abcdefghijklmnopqrstuvwxyz234567", "P2PRC_FAILPOINT="+point)
	log := w.logs[side]
	if log == nil {
		log = new(bytes.Buffer)
		w.logs[side] = log
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd, make(chan struct{})}
	w.running[side] = p
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
}

// died waits until p2prc of that side was killed at its point.
func (w *world) died(side, point string) {
	w.t.Helper()
	p := w.running[side]
	select {
	case <-p.done:
	case <-time.After(patience):
		w.t.Fatalf("%s never came to %s", side, point)
	}
	if st := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !st.Signaled() || st.Signal() != syscall.SIGKILL {
		w.t.Fatalf("%s ended with %v before it came to %s", side, p.cmd.ProcessState, point)
	}
}

// stop ends p2prc of that side in order.
func (w *world) stop(side string) {
	w.t.Helper()
	w.signal(side, os.Interrupt)
	p := w.running[side]
	select {
	case <-p.done:
	case <-time.After(patience):
		w.t.Fatalf("%s does not stop", side)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		w.t.Errorf("%s stopped with %d", side, code)
	}
}

func (w *world) signal(side string, sig os.Signal) {
	w.t.Helper()
	if err := w.running[side].cmd.Process.Signal(sig); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) crash(side, point string, when moment) {
	stranger := w.watch()
	first := func(s string) string {
		if s == side && when != remapping {
			return point
		}
		return ""
	}
	w.run("proxy", first("proxy"))
	if when == starting {
		w.died("proxy", point)
		w.run("proxy", "")
	}
	w.await("the proxy is ready", func() bool { // its row alone may be one of before
		return w.works(tables.Mapping{Address: w.host, BindPort: 8088, Node: true})
	})
	w.run("server", first("server"))
	var began time.Time
	var more []string
	switch when {
	case serving:
		w.died(side, point)
	case remapping:
		w.up("web")
		w.signal(side, syscall.SIGUSR2)
		<-w.running[side].done
		more = []string{"--map", "second=" + w.second}
		w.run(side, point, more...)
		w.died(side, point)
	case stopping:
		w.up("web")
		w.signal(side, os.Interrupt)
		w.died(side, point)
	}
	if when != starting {
		began = time.Now()
		w.run(side, "", more...)
	}
	w.up("web")
	if when == remapping {
		w.up("second")
	}
	if when != starting {
		w.t.Logf("proved again %v after p2prc was started", time.Since(began).Round(time.Millisecond))
	}
	for name, dir := range map[string]string{"frps": "proxy", "frpc": "server"} {
		w.await("one "+name, func() bool { return len(alive(filepath.Join(w.state(dir), "private", name+".toml"))) == 1 })
	}
	stranger.end()
	w.stop("server")
	w.stop("proxy")
	for name, dir := range map[string]string{"frps": "proxy", "frpc": "server"} {
		if left := alive(filepath.Join(w.state(dir), "private", name+".toml")); len(left) > 0 {
			w.t.Errorf("%s is left: %v", name, left)
		}
	}
	w.reservations(when == remapping, stranger)
}

// up waits until both sides say so and a stranger gets through, and the rows
// were proved since.
func (w *world) up(name string) {
	w.t.Helper()
	since := time.Now()
	w.await(name+" is up", func() bool {
		for _, side := range []string{"proxy", "server"} {
			m, ok := row(w.state(side), name)
			if !ok || m.State != tables.Up || !w.works(m) {
				return false
			}
			if side == "server" && m.VerifiedAt.Before(since.Add(-time.Second)) {
				return false
			}
		}
		return true
	})
}

func row(dir, name string) (tables.Mapping, bool) {
	v, err := tables.ReadMappings(dir, time.Now())
	i := slices.IndexFunc(v.Rows, func(m tables.Mapping) bool { return m.Name == name })
	if err != nil || i < 0 {
		return tables.Mapping{}, false
	}
	return v.Rows[i], true
}

func (w *world) works(m tables.Mapping) bool {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	path := "/"
	if m.Node {
		path = "/server_info"
	}
	resp, err := c.Get("http://" + m.Public().String() + path)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(limit) {
			w.t.Fatalf("it never came: %s\n%s", what, w.rows())
		}
	}
}

func (w *world) rows() string {
	var b strings.Builder
	for _, side := range []string{"proxy", "server"} {
		v, err := tables.ReadMappings(w.state(side), time.Now())
		fmt.Fprintf(&b, "%s: %+v %v\n", side, v.Rows, err)
	}
	return b.String()
}

// stranger reads the tables of both hosts all the time and uses every address
// that is said to be up.
type stranger struct {
	w     *world
	quit  chan struct{}
	wg    sync.WaitGroup
	ended atomic.Bool

	mu    sync.Mutex // guards the rest
	ports map[string]map[uint16]bool
	worst time.Duration
}

func (w *world) watch() *stranger {
	s := &stranger{w: w, quit: make(chan struct{}), ports: make(map[string]map[uint16]bool)}
	for _, side := range []string{"proxy", "server"} {
		s.wg.Go(func() { s.serve(w.state(side)) })
	}
	w.t.Cleanup(s.end)
	return s
}

func (s *stranger) serve(dir string) {
	broken := make(map[string]time.Time) // since when a row that says up does not work
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
		v, err := tables.ReadMappings(dir, time.Now())
		if err != nil {
			s.w.t.Errorf("a table cannot be read: %v", err)
			return
		}
		if _, err := tables.ReadProxies(dir, time.Now()); err != nil {
			s.w.t.Errorf("a table cannot be read: %v", err)
			return
		}
		up := make(map[string]bool)
		for _, m := range v.Rows {
			s.saw(m)
			if m.State != tables.Up {
				continue
			}
			up[m.Name] = true
			asked := time.Now()
			if s.w.works(m) {
				delete(broken, m.Name)
			} else if since, ok := broken[m.Name]; !ok {
				broken[m.Name] = asked
			} else {
				s.lied(dir, m, asked.Sub(since))
			}
		}
		for name := range broken {
			if !up[name] {
				delete(broken, name)
			}
		}
	}
}

func (s *stranger) saw(m tables.Mapping) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports[m.Name] == nil {
		s.ports[m.Name] = make(map[uint16]bool)
	}
	if m.BindPort != 0 {
		s.ports[m.Name][m.BindPort] = true
	}
}

func (s *stranger) lied(dir string, m tables.Mapping, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.worst = max(s.worst, took)
	if took > untrue {
		s.w.t.Errorf("%s: the row of %s has said up for %v, and nobody gets through: %+v", filepath.Base(dir), m.Name, took, m)
	}
}

func (s *stranger) end() {
	if s.ended.Swap(true) {
		return
	}
	close(s.quit)
	s.wg.Wait()
	if s.worst > 0 {
		s.w.t.Logf("a row said up for %v after its address was gone", s.worst.Round(time.Millisecond))
	}
}

// reservations checks what the proxy has on disk: one reservation a mapping, at
// the only port that was ever shown.
func (w *world) reservations(second bool, s *stranger) {
	w.t.Helper()
	dir, err := tables.OpenDir(w.state("proxy"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer dir.Close()
	store, err := tables.Open(dir, tables.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close(false)
	want := []string{"p2prc", "web"}
	if second {
		want = []string{"p2prc", "second", "web"}
	}
	var got []string
	for _, r := range store.Reservations() {
		got = append(got, r.Name)
		if ports := s.ports[r.Name]; len(ports) != 1 || !ports[r.Port] {
			w.t.Errorf("%s is reserved at %d, and was shown at %v", r.Name, r.Port, ports)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("reserved: %v, want %v", got, want)
	}
}

// alive are the processes that run with this configuration, zombies left out.
func alive(config string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(text, []byte(config)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/cmdline", &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
