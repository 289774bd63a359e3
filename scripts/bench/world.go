package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
)

// Everything happens on loopback, on ports below the ephemeral range of Linux,
// macOS and Windows: no outgoing connection takes one. p2prc's own default
// pool is left alone.
const (
	host     = "127.0.0.1"
	pool     = "30000-31599" // p2prc lends these
	firstOwn = 31600         // and the bench takes the ones above
	lastOwn  = 32767
)

// world is what one case runs. It belongs to one goroutine.
type world struct {
	dir     string
	bin     binaries
	started int // processes and directories, to name them
	running []*process
	open    []io.Closer
	port    int // the one that freePort looks at next
}

// end stops all that was started, the youngest first, and forgets its files.
func (w *world) end() error {
	var errs []error
	for _, p := range slices.Backward(w.running) {
		errs = append(errs, p.stop())
	}
	for _, c := range w.open {
		errs = append(errs, c.Close())
	}
	w.running, w.open = nil, nil
	return errors.Join(errs...)
}

// stop ends one process and forgets it.
func (w *world) stop(p *process) error {
	w.forget(p)
	return p.stop()
}

func (w *world) forget(p *process) {
	w.running = slices.DeleteFunc(w.running, func(other *process) bool { return other == p })
}

// fresh is a new empty directory.
func (w *world) fresh() (string, error) {
	dir, err := os.MkdirTemp(w.dir, "state-")
	if err != nil {
		return "", fmt.Errorf("making a directory: %w", err)
	}
	return dir, nil
}

// freePort is a port that nothing has now, and that is handed out again only
// after all the others.
func (w *world) freePort() (int, error) {
	for range lastOwn - firstOwn + 1 {
		port := firstOwn + w.port
		w.port = (w.port + 1) % (lastOwn - firstOwn + 1)
		ln, err := net.Listen("tcp4", at(port))
		if err != nil {
			continue
		}
		if err := ln.Close(); err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("no free port from %d to %d", firstOwn, lastOwn)
}

func at(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// accepts reports whether something listens there. The connection is reset,
// so that no closed one lingers.
func accepts(ctx context.Context, port int) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", at(port))
	if err != nil {
		return false
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // at worst it lingers
	}
	return conn.Close() == nil
}
