package peerapi

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"p2prc/tables/identity"
)

// ErrNoP2PRC says that something answers at the address, but it is not a
// p2prc: another TLS server, one without TLS, or one that hangs up.
var ErrNoP2PRC = errors.New("what answers there is not p2prc")

const (
	defaultTimeout = 15 * time.Second
	// reuseFor is how long an idle connection is used again: half of the
	// server's idleWait, so that the server never closes it first.
	reuseFor = idleWait / 2
)

// ClientOptions describes a reverse proxy and who asks it. Key and Host must
// be set.
type ClientOptions struct {
	Key  identity.Key
	Host string // IPv4 address or name, resolved at every connect
	Port uint16 // 0: identity.DefaultPort

	// Pin is the one node that is accepted there. Without it a token decides:
	// only the proxy that knows it is accepted. Without both, whoever answers is
	// (trust on first use): it can pretend to be the proxy, but has no admission
	// to give that another proxy would honour, and gets nothing secret.
	Pin   identity.ID
	Token identity.Token
	// Join proves the token at once, although there is a Pin: this node was never
	// admitted there, and to ask first would be a knock. It ends with the first
	// admission: the token may be revoked then, and this node stays.
	Join bool

	Name    string        // what this node calls itself
	Timeout time.Duration // of one call with everything in it; 0: 15 s

	Resolver Resolver // nil: the system's
	// Dial opens a connection to an IPv4 address and port; nil: the system's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Resolver turns the proxy's name into addresses. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Client asks one reverse proxy. Calls share one connection, one at a time,
// and connect again by themselves; every call may be repeated, and is when an
// old connection broke before its answer.
//
// Errors to tell apart: a *identity.PinError (another node is there), a
// *Refusal (the proxy says no), ErrWrongProof, ErrNoP2PRC; what is left means
// that the proxy is out of reach.
//
// Once the proxy has admitted this node, its identity is the client's pin.
type Client struct {
	o    ClientOptions
	turn chan struct{} // held by whoever uses line
	line *line         // nil while there is none

	mu   sync.Mutex // guards what follows
	pin  identity.ID
	join bool // see ClientOptions.Join
	now  status
}

// status is the newest connection, the events' included.
type status struct {
	peer          identity.ID
	key           ed25519.PublicKey
	local, remote netip.AddrPort
	latency       time.Duration
}

// NewClient connects to nothing yet.
func NewClient(o ClientOptions) *Client {
	if o.Port == 0 {
		o.Port = identity.DefaultPort
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	return &Client{o: o, turn: make(chan struct{}, 1), pin: o.Pin, join: o.Join}
}

// Connect makes a new connection in the place of the one there is. It joins
// when there is a token and no pin; with both, a call that is refused with
// CodeNotAdmitted joins and asks again.
func (c *Client) Connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	return c.connect(ctx, c.alpn())
}

// Close ends the connection. A call under way is waited for.
func (c *Client) Close() error {
	c.turn <- struct{}{}
	defer c.give()
	c.hangUp()
	return nil
}

// Peer is the node that answered last. Remember it as the proxy's pin only
// once a Hello said that this node is admitted.
func (c *Client) Peer() identity.ID { return c.status().peer }

// PeerKey is the key of Peer, which what it signs is checked by.
func (c *Client) PeerKey() ed25519.PublicKey { return c.status().key }

// LocalAddr is this end of the newest connection.
func (c *Client) LocalAddr() netip.AddrPort { return c.status().local }

// RemoteAddr is the proxy's end of the newest connection.
func (c *Client) RemoteAddr() netip.AddrPort { return c.status().remote }

// Latency is how long the newest connection took to open: one round trip.
func (c *Client) Latency() time.Duration { return c.status().latency }

func (c *Client) status() status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Hello asks the proxy what it is, and whether this node is admitted.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	var h Hello
	ask := func() error {
		h = Hello{}
		q := question{method: http.MethodGet, path: pathHello, name: c.o.Name}
		return c.exchange(ctx, q, &h, func() bool { return h.Admitted })
	}
	err := ask()
	if err == nil && !h.Admitted && !c.o.Token.Zero() {
		if err := c.connect(ctx, ALPNJoin); err != nil {
			return Hello{}, err
		}
		err = ask()
	}
	if err != nil {
		return Hello{}, err
	}
	return h, nil
}

// Reserve asks for leases.
func (c *Client) Reserve(ctx context.Context, req ReserveRequest) (ReserveReply, error) {
	var r ReserveReply
	if err := c.post(ctx, pathReserve, req, &r); err != nil {
		return ReserveReply{}, err
	}
	if len(r.Leases) != len(req.Wants) {
		return ReserveReply{}, fmt.Errorf("reading the answer: %d leases for %d mappings", len(r.Leases), len(req.Wants))
	}
	for i, w := range req.Wants {
		if l := r.Leases[i]; l.Name != w.Name || l.Type != w.Type || l.Domain != w.Domain {
			return ReserveReply{}, fmt.Errorf("reading the answer: lease %d is not for %s", i, w.Name)
		}
	}
	return r, nil
}

// Report renews leases and says how each mapping is.
func (c *Client) Report(ctx context.Context, req ReportRequest) (ReportReply, error) {
	var r ReportReply
	if err := c.post(ctx, pathReport, req, &r); err != nil {
		return ReportReply{}, err
	}
	if len(r.Rows) != len(req.Rows) {
		return ReportReply{}, fmt.Errorf("reading the answer: %d answers for %d rows", len(r.Rows), len(req.Rows))
	}
	for i, row := range req.Rows {
		if r.Rows[i].LeaseID != row.LeaseID {
			return ReportReply{}, fmt.Errorf("reading the answer: answer %d is for another lease", i)
		}
	}
	return r, nil
}

// Release gives leases back.
func (c *Client) Release(ctx context.Context, req ReleaseRequest) error {
	return c.post(ctx, pathRelease, req, new(done))
}

// Witness has the proxy dial ports of another one.
func (c *Client) Witness(ctx context.Context, req WitnessRequest) (WitnessReply, error) {
	var r WitnessReply
	if err := c.post(ctx, pathWitness, req, &r); err != nil {
		return WitnessReply{}, err
	}
	if len(r.Answers) != len(req.Asks) {
		return WitnessReply{}, fmt.Errorf("reading the answer: %d answers for %d ports", len(r.Answers), len(req.Asks))
	}
	return r, nil
}

// post sends a request, and joins first when only the token is missing.
func (c *Client) post(ctx context.Context, path string, req any, into reply) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	if len(body) > MaxBody {
		return fmt.Errorf("encoding %s: %d bytes are more than a request may have", path, len(body))
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	q := question{method: http.MethodPost, path: path, name: c.o.Name, body: body}
	ask := func() error { return c.exchange(ctx, q, into, func() bool { return true }) }
	err = ask()
	if r, ok := errors.AsType[*Refusal](err); ok && r.Code == CodeNotAdmitted && !c.o.Token.Zero() {
		if err := c.connect(ctx, ALPNJoin); err != nil {
			return err
		}
		err = ask()
	}
	return err
}
