package peerapi

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"p2prc/tables/identity"
)

// line is one connection to a node that proved its key. It speaks HTTP with
// the wire functions of net/http, not with its Transport: that one dials in
// goroutines which outlive the call, and does not repeat a POST.
type line struct {
	conn  net.Conn
	peer  identity.ID
	key   ed25519.PublicKey // of peer
	limit *io.LimitedReader // what the other end may still send
	r     *bufio.Reader
	used  time.Time // last
}

func newLine(conn net.Conn, peer identity.ID, key ed25519.PublicKey) *line {
	limit := &io.LimitedReader{R: conn}
	return &line{conn: conn, peer: peer, key: key, limit: limit, r: bufio.NewReader(limit), used: time.Now()}
}

// question is a request of the node API.
type question struct {
	method, path string
	name         string // of the node that asks
	body         []byte
}

// noAnswer is what ended a connection before a byte of the answer came.
type noAnswer struct{ error }

func (e noAnswer) Unwrap() error { return e.error }

// ask sends a question and reads the head of the answer. All that is read from
// then on, body included, is at most maxHeader and maxBody bytes.
func (l *line) ask(q question, maxBody int64) (*http.Response, error) {
	req, err := http.NewRequest(q.method, "http://p2prc"+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.name != "" {
		req.Header.Set(nameHeader, q.name)
	}
	w := bufio.NewWriter(l.conn)
	sent := req.Write(w)
	if sent == nil {
		sent = w.Flush()
	}
	l.limit.N = maxHeader + maxBody
	// A proxy may refuse and hang up before it has read all: its answer counts.
	if _, err := l.r.Peek(1); err != nil {
		if sent != nil {
			err = sent
		}
		return nil, noAnswer{err}
	}
	return http.ReadResponse(l.r, req)
}

// answered is a whole answer.
type answered struct {
	status int
	body   []byte
	from   identity.ID
	last   bool // the other end hangs up after it
}

func (l *line) roundTrip(q question) (answered, error) {
	resp, err := l.ask(q, MaxBody)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	if err != nil {
		return answered{}, err
	}
	if len(body) > MaxBody {
		return answered{}, errors.New("the answer is too long")
	}
	l.used = time.Now()
	return answered{resp.StatusCode, body, l.peer, resp.Close}, nil
}
