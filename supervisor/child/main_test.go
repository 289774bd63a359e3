package child_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/supervisor/child"
)

// The test binary plays three parts: the tests; an frp that misbehaves in ways
// the real one cannot be made to (fakeKey names which); and a p2prc that dies
// (helperKey).
const (
	fakeKey   = "CHILD_TEST_FAKE"
	helperKey = "CHILD_TEST_HELPER"
	specKey   = "CHILD_TEST_SPEC"
	fileKey   = "CHILD_TEST_FILE" // where a fake reports what its log cannot hold
	markKey   = "CHILD_TEST_MARK" // in every process that these tests start
	testKey   = "CHILD_TEST_DIR"  // in those of one fakeSpec
)

func TestMain(m *testing.M) {
	if fake := os.Getenv(fakeKey); fake != "" {
		playFRP(fake)
		return
	}
	if helper := os.Getenv(helperKey); helper != "" {
		playP2PRC(helper)
		return
	}
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if left := marked(mark()); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "children left behind:", left)
		code = 1
	}
	os.Exit(code)
}

// mark tells this run's processes from another's.
func mark() string { return markKey + "=" + strconv.Itoa(os.Getpid()) }

// marked lists the running processes with this variable in their environment;
// where there is no /proc it finds none.
func marked(variable string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+variable+"\x00")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// quickExit spares a fake that runs under the race detector a second at its end.
const quickExit = "GORACE=atexit_sleep_ms=0"

// alive lists the processes of a fakeSpec.
func alive(s child.Spec) []int { return marked(testKey + "=" + s.Dir) }

// fakeSpec describes a child that plays the given part.
func fakeSpec(t *testing.T, part string, env ...string) child.Spec {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := child.Spec{
		Name: "frps", Path: exe, Dir: dir,
		Env:     append([]string{fakeKey + "=" + part, testKey + "=" + dir, mark(), quickExit}, env...),
		RunFile: filepath.Join(dir, "frps.run"),
		LogFile: filepath.Join(dir, "frps.log"),
		Grace:   5 * time.Second,
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(s.LogFile)
			t.Logf("alive: %v; %s:\n%s", alive(s), filepath.Base(s.LogFile), log[max(0, len(log)-2000):])
		}
	})
	return s
}

// playFRP says "ready" once a signal finds it as the part wants.
func playFRP(part string) {
	signals := make(chan os.Signal, 10)
	switch part {
	case "good": // dies of any signal
	case "deaf": // to all but SIGKILL
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	case "polite": // deaf, but ends when asked by its "API", which is a signal here
		signal.Ignore(syscall.SIGTERM)
		signal.Notify(signals, politeSignal)
	case "witness": // tells of every signal it gets
		signal.Notify(signals)
	case "forks":
		p, err := os.StartProcess(mustExecutable(), []string{"frp"}, &os.ProcAttr{
			Env:   append([]string{fakeKey + "=deaf"}, os.Environ()...), // the first one counts
			Files: []*os.File{nil, os.Stdout, os.Stderr},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = p.Release()
	case "environment":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "descriptors":
		for _, fd := range []string{"0", "1", "2"} {
			to, _ := os.Readlink("/proc/self/fd/" + fd)
			fmt.Println(fd, to)
		}
	case "coloured":
		fmt.Print("\x1b[1;34m2026-11-23 09:31:31.255 [I] [frps/root.go:105] frps uses config file: t.toml\n" +
			"\x1b[0mcreate server listener error, listen tcp 127.0.0.1:27100: bind: address already in use\n")
		syscall.Exit(1) // os.Exit would add a line about coverage
	case "spam":
		line := []byte(strings.Repeat("spam ", 200) + "\n")
		for range 100 << 20 / len(line) {
			_, _ = os.Stdout.Write(line) // on a full disk an error, as for frp
		}
		_ = os.WriteFile(os.Getenv(fileKey), []byte("done"), 0o600)
	}
	fmt.Println("ready")
	// The timer also keeps the Go runtime from finding a deadlock.
	for end := time.After(time.Hour); ; {
		select {
		case <-end:
			return
		case sig := <-signals:
			if sig.String() == "urgent I/O condition" { // the Go runtime's own
				continue
			}
			fmt.Println("signal:", sig)
			if part == "polite" {
				return
			}
		}
	}
}

func mustExecutable() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

// await waits until ok; the test fails after a while.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("timed out waiting for: %s", what)
		case <-tick.C:
		}
	}
}

func awaitLine(t testing.TB, file, line string) {
	t.Helper()
	await(t, fmt.Sprintf("%q in %s", line, filepath.Base(file)), func() bool {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Contains(append([]byte{'\n'}, b...), []byte("\n"+line+"\n"))
	})
}

// awaitPair waits until a fake that forks and its child both play their part.
// Counting processes is not enough: before its first fork Go makes another to
// try out what the kernel can do.
func awaitPair(t testing.TB, s child.Spec) {
	t.Helper()
	await(t, "a pair", func() bool {
		b, err := os.ReadFile(s.LogFile)
		return err == nil && bytes.Count(b, []byte("ready\n")) == 2
	})
}

func awaitDone(t testing.TB, p *child.Process) child.Exit {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Fatalf("%v has not ended", p)
	}
	return p.Exit()
}

// start starts the child and kills it when the test ends.
func start(t testing.TB, s child.Spec) *child.Process {
	t.Helper()
	p, err := child.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	killAfter(t, p)
	return p
}

func adopt(t testing.TB, s child.Spec) *child.Process {
	t.Helper()
	p, _, err := child.Adopt(s)
	if err != nil {
		t.Fatal(err)
	}
	killAfter(t, p)
	return p
}

func killAfter(t testing.TB, p *child.Process) {
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
}

// startReleased starts a fake and lets go of it, as p2prc does when it leaves.
func startReleased(t testing.TB, s child.Spec) *child.Process {
	t.Helper()
	p, err := child.Start(s)
	if err != nil {
		t.Fatal(err)
	}
	awaitLine(t, s.LogFile, "ready")
	p.Release()
	return p
}

// startReady starts a fake and waits until it plays its part.
func startReady(t testing.TB, s child.Spec) *child.Process {
	t.Helper()
	p := start(t, s)
	awaitLine(t, s.LogFile, "ready")
	return p
}

// wire is what a helper needs of a Spec.
type wire struct {
	Name, Path, Dir, RunFile, LogFile string
	Args, Env                         []string
	Admin                             child.Admin
}

func encodeSpec(t testing.TB, s child.Spec) string {
	t.Helper()
	b, err := json.Marshal(wire{s.Name, s.Path, s.Dir, s.RunFile, s.LogFile, s.Args, s.Env, s.Admin})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decodeSpec(in string) (child.Spec, error) {
	var w wire
	err := json.Unmarshal([]byte(in), &w)
	return child.Spec{
		Name: w.Name, Path: w.Path, Dir: w.Dir, RunFile: w.RunFile, LogFile: w.LogFile,
		Args: w.Args, Env: w.Env, Admin: w.Admin,
	}, err
}
