package notify_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"p2prc/supervisor/notify"
)

// systemd listens as the real one does.
func systemd(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return conn
}

func open(t *testing.T) *notify.Socket {
	t.Helper()
	s, err := notify.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, key := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if _, ok := os.LookupEnv(key); ok {
			t.Errorf("$%s is left for the children", key)
		}
	}
	return s
}

func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestSocket(t *testing.T) {
	conn := systemd(t, filepath.Join(t.TempDir(), "notify"))
	s := open(t)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{s.Ready("all up"), "READY=1\nSTATUS=all up"},
		{s.Status("web: x\nREADY=1"), "STATUS=web: x READY=1"},
		{s.Stopping("bye"), "STOPPING=1\nSTATUS=bye"},
	} {
		if tt.err != nil {
			t.Fatal(tt.err)
		}
		if got := heard(t, conn); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestSocket_watchdog(t *testing.T) {
	conn := systemd(t, filepath.Join(t.TempDir(), "notify"))
	t.Setenv("WATCHDOG_USEC", "30000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	s := open(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	heard(t, conn)
	beat, ended := s.Loop("pass")
	defer ended()
	beat()
	if got := heard(t, conn); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
	stop()
	<-done
}

func TestSocket_anothersWatchdog(t *testing.T) {
	systemd(t, filepath.Join(t.TempDir(), "notify"))
	t.Setenv("WATCHDOG_USEC", "1000")
	t.Setenv("WATCHDOG_PID", "1")
	if got := notify.Watchdog(open(t)); got != 0 {
		t.Errorf("p2prc feeds it every %v", got)
	}
}

func TestSocket_noSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s := open(t)
	beat, ended := s.Loop("pass")
	beat()
	ended()
	if s != nil || s.Ready("x") != nil || s.Status("x") != nil || s.Stopping("x") != nil || s.Close() != nil {
		t.Errorf("got %v", s)
	}
}

func TestSocket_gone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	if s, err := notify.Open(); err == nil || s != nil {
		t.Errorf("opened %v", s)
	}
}
