//go:build linux

package lab

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// The services on the LAN host, as --map names them, and where they listen.
const (
	mapWeb   = "web=8000"
	mapSink  = "sink=9000"
	mapPulse = "pulse=7007"
	mapEcho  = "echo=5353/udp"
)

// serveAll runs the services on the LAN host, all on loopback: nothing but the
// tunnel leads to them.
func (l *lab) serveAll() {
	l.t.Helper()
	for name, addr := range map[string]string{
		"web": "127.0.0.1:8000", "sink": "127.0.0.1:9000", "pulse": "127.0.0.1:7007", "echo": "127.0.0.1:5353",
	} {
		l.lan.startHelper(name, addr)
	}
}

func (h host) startHelper(name string, args ...string) *process {
	h.lab.t.Helper()
	return h.start(name, []string{envHelper + "=" + name}, append([]string{self()}, args...)...)
}

// runHelper runs a client on the host and returns what it printed.
func (h host) runHelper(name string, args ...string) (string, error) {
	return h.run(append([]string{"env", envHelper + "=" + name, self()}, args...)...)
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err) // go test always runs a file
	}
	return path
}

func commandLine(pid int) string {
	return strings.ReplaceAll(read(fmt.Sprintf("/proc/%d/cmdline", pid)), "\x00", " ")
}

// public is a port of the public host, as strangers write it.
func public(port uint16) string { return net.JoinHostPort(pubAddr, strconv.Itoa(int(port))) }

// curl fetches a URL from outside.
func (l *lab) curl(url string, flags ...string) (string, error) {
	return l.ext.run(append([]string{"curl", "-sS", "--fail", "--max-time", "2", url}, flags...)...)
}

// webAnswers says why a stranger does not reach the web service at this port.
func (l *lab) webAnswers(port uint16) error {
	got, err := l.curl("http://" + public(port) + "/")
	if err == nil && got != hello {
		err = fmt.Errorf("port %d answered %q, want %q", port, got, hello)
	}
	return err
}
