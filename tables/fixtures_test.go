package tables

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/tables/identity"
)

// asChild names the part that this test binary plays when it is started again
// by one of its own tests.
const asChild = "P2PRC_TABLES_TEST_CHILD"

// children are those parts.
var children = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if part := os.Getenv(asChild); part != "" {
		if err := children[part](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A history of the model has some 30 steps, most with several syncs. More of
	// them: go test -run model -rapid.checks=2000.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

var t0 = time.Date(2026, 11, 22, 10, 0, 0, 123456789, time.UTC)

func anID(i int) identity.ID { return identity.ID(fmt.Sprintf("%032d", i)) }

func aMapping(i int) Mapping {
	return Mapping{
		ServerName: fmt.Sprintf("server-%d", i/4), Address: netip.AddrFrom4([4]byte{203, 0, 113, 7}), Type: TCP,
		BindPort: uint16(20000 + i%10000), Name: fmt.Sprintf("web-%d", i),
		LocalAddress: netip.MustParseAddrPort("127.0.0.1:8080"), State: Up,
		VerifiedAt: t0, ProvedBy: "server", LeaseUntil: t0.Add(10 * time.Minute),
		NodeID: anID(i / 4), ProxyID: anID(1_000_000), Serial: uint64(i), LeaseID: fmt.Sprintf("%032x", i), Node: i%4 == 0,
	}
}

func aProxy(i int) ReverseProxy {
	ms := 12.5
	return ReverseProxy{
		ServerName: fmt.Sprintf("proxy-%d", i), Address: netip.AddrFrom4([4]byte{203, 0, 113, 7}), LatencyMS: &ms,
		State: Up, VerifiedAt: t0, NodePort: 8088, FRPPort: 7000, Ports: PortRange{20000, 29999}, PortsFree: 9990,
		Admission: AdmitToken, FRPVersion: "0.70.1", NodeID: anID(1_000_000 + i), Serial: 1,
	}
}

func openDir(tb testing.TB, path string) *Dir {
	tb.Helper()
	dir, err := OpenDir(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := dir.Close(); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

func openStore(tb testing.TB, dir *Dir, o Options) *Store {
	tb.Helper()
	s, err := Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(false); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// logged is a log that tests can look into.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func mustRead(tb testing.TB, path ...string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// corrupt lists what was set aside in dir.
func corrupt(tb testing.TB, dir string) []string {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.corrupt-*"))
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

// startChild runs this test binary as the given part.
func startChild(t *testing.T, part string, args ...string) (cmd *exec.Cmd, in io.WriteCloser, out *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asChild+"="+part)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in, bufio.NewScanner(stdout)
}

// memoryDir is a new directory in memory where there is such a place: some
// tests make thousands of syncs, and none of them pulls the plug. The caller
// removes it.
func memoryDir(tb interface{ Fatal(...any) }) string {
	path, err := os.MkdirTemp("/dev/shm", "p2prc-tables-")
	if err != nil {
		path, err = os.MkdirTemp("", "p2prc-tables-")
	}
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
