// Package control lets the local user speak to a running p2prc: HTTP with JSON
// over a unix socket in the private part of the state directory. Nothing on
// the public port gets here. Not here: what is said (supervisor).
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"
)

// Bounds on one conversation: the CLI is local and asks little.
const (
	maxBody      = 1 << 20
	readTimeout  = 5 * time.Second
	replyTimeout = 10 * time.Second // revoking waits for a restart of frps
	maxPath      = 103              // of a unix socket's path, in bytes, on every system (sun_path)
)

// ErrNotRunning means that no p2prc answers on the socket.
var ErrNotRunning = errors.New("no p2prc answers here")

// Listen makes the socket, 0600. The caller holds the state directory's lock,
// so a socket that is there already belongs to nobody.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("control socket %s: the path has %d bytes, a unix socket takes %d: use a shorter state directory", path, len(path), maxPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return ln, nil
}

// Serve answers on ln until ctx ends, then closes and removes the socket.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(h, maxBody),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Refusal is an answer of the running p2prc that says no.
type Refusal struct{ Message string }

func (r *Refusal) Error() string { return r.Message }

// Handle answers one call: in is what the caller sent, the result what it
// gets. An error's text is shown to the user.
func Handle[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil {
			http.Error(w, "reading the request: "+err.Error(), http.StatusBadRequest)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out) // the caller went away: nobody to tell
	}
}

// Call asks the p2prc behind the socket. The error is ErrNotRunning, a
// *Refusal, or what went wrong on the way.
func Call[In, Out any](ctx context.Context, socket, path string, in In) (out Out, err error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("asking the running p2prc: %w", err)
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://p2prc"+path, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("asking the running p2prc: %w", err)
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		if opErr, ok := errors.AsType[*net.OpError](err); ok && opErr.Op == "dial" {
			return out, fmt.Errorf("%w: %w", ErrNotRunning, opErr.Err)
		}
		return out, fmt.Errorf("asking the running p2prc: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return out, fmt.Errorf("asking the running p2prc: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return out, &Refusal{string(bytes.TrimSpace(b))}
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("reading the running p2prc's answer: %w", err)
	}
	return out, nil
}
