package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hangupChild makes the test binary a service that says what SIGHUP did to it.
const hangupChild = "P2PRC_TEST_HANGUP"

func init() {
	if os.Getenv(hangupChild) == "" {
		return
	}
	s := onSignals(context.Background(), true, func(bool) {})
	out := os.NewFile(3, "out")
	fmt.Fprintln(out, "ready")
	for {
		select {
		case <-s.reload:
			fmt.Fprintln(out, "reload")
		case <-s.ctx.Done():
			fmt.Fprintln(out, "stop")
			os.Exit(0)
		case <-time.After(30 * time.Second):
			os.Exit(1)
		}
	}
}

// TestHangup: with its terminal there, SIGHUP is somebody's wish to reload;
// once the terminal is gone, a foreground run ends.
func TestHangup(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), hangupChild+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = slave, slave, slave, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	w.Close()
	lines := bufio.NewReader(r)
	expect := func(want string) {
		t.Helper()
		if got, err := lines.ReadString('\n'); err != nil || strings.TrimSpace(got) != want {
			t.Fatalf("it says %q, %v; want %s", got, err, want)
		}
	}
	expect("ready")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	expect("reload")
	master.Close()
	expect("stop")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
