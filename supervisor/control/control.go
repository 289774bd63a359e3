// Package control lets the local user speak to a running p2prc: HTTP with JSON
// over a unix socket in the private part of the state directory. Nothing on
// the public port gets here. Not here: what is said (supervisor).
package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

// Bounds on one conversation: the CLI is local and asks little.
const (
	maxBody      = 4 << 20  // ten thousand mappings in one request have 1.1 MiB
	maxReply     = 64 << 20 // their rows in one status have 5 MiB
	readTimeout  = 5 * time.Second
	replyTimeout = 10 * time.Second // revoking waits for a restart of frps
	lastWords    = time.Second      // saying to those who wait that p2prc stops
	maxPath      = 103              // of a unix socket's path, in bytes, on every system (sun_path)
)

var (
	// ErrNotRunning means that no p2prc answers on the socket.
	ErrNotRunning = errors.New("no p2prc answers here")

	// ErrUnknown means that the p2prc that runs does not answer such a call: its
	// role has none.
	ErrUnknown = errors.New("the running p2prc does not know that")

	// ErrEnded means that p2prc went away before its answer was complete.
	ErrEnded = errors.New("p2prc ended in the middle of its answer")
)

// Listen makes the socket, 0600. The caller holds the state directory's lock,
// so a socket that is there already belongs to nobody.
func Listen(path string) (net.Listener, error) {
	short, done, err := reach(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer done()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // short may lead nowhere by then
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return localOnly{ln, path}, nil
}

// localOnly hangs up on everybody but the user that p2prc runs as, and root:
// the mode of the socket says so too, but not every system looks at it.
type localOnly struct {
	net.Listener
	path string
}

// Close removes the socket as well.
func (l localOnly) Close() error {
	err := l.Listener.Close()
	if rerr := os.Remove(l.path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return errors.Join(err, rerr)
	}
	return err
}

func (l localOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, known, err := peerUID(conn)
		if err == nil && (!known || mayAsk(uid, os.Geteuid())) {
			return conn, nil
		}
		conn.Close()
	}
}

func mayAsk(uid, own int) bool { return uid == own || uid == 0 }

// Serve answers on ln until ctx ends, which ends the contexts of all calls, then
// closes and removes the socket.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(h, maxBody),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(ln)
	if !stop() {
		<-ended
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}
