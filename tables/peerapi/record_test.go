package peerapi_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"

	"p2prc/tables/peerapi"
)

// lockedBuffer is written by many and read by the test.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// recorded is a connection whose bytes, both ways, are kept.
type recorded struct {
	net.Conn
	to *lockedBuffer
}

func (r recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.to.Write(p[:n])
	return n, err
}

func (r recorded) Write(p []byte) (int, error) {
	r.to.Write(p)
	return r.Conn.Write(p)
}

// textLog logs everything to w.
func textLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type reserveFunc = func(context.Context, peerapi.ReserveRequest) (peerapi.ReserveReply, error)

// failing is a Reserve that always fails.
func failing(err error) reserveFunc {
	return func(context.Context, peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
		return peerapi.ReserveReply{}, err
	}
}

// blocking is a Reserve that says that it was asked, then lasts as long as its context.
func blocking(asked chan<- struct{}) reserveFunc {
	return func(ctx context.Context, _ peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
		close(asked)
		<-ctx.Done()
		return peerapi.ReserveReply{}, ctx.Err()
	}
}
