package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// transport carries memberlist's packets and streams to proved peers, for one
// run of Serve. It is a memberlist.NodeAwareTransport.
type transport struct {
	m       *Mesh
	packets chan *memberlist.Packet
	streams chan net.Conn

	// ctx ends with stop. It is kept since memberlist's calls bring none.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // all that enter let in

	mu      sync.Mutex // guards what follows, and the line of each peer
	stopped bool
	peers   map[identity.ID]*peer
	pings   []sentPing // without an answer, as far as is known
	told    map[identity.ID]string
}

type sentPing struct {
	seq uint32
	at  time.Time
}

const (
	dialWait = 5 * time.Second
	// pingMemory is the longest that memberlist waits for an answer: its interval
	// times eight, when it doubts its own health.
	pingMemory = 8 * probeInterval
	maxTold    = 1024
)

var errUnnamed = errors.New("the mesh dials nobody without a name")

func newTransport(m *Mesh) *transport {
	ctx, cancel := context.WithCancel(context.Background())
	return &transport{
		m: m, ctx: ctx, cancel: cancel,
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		peers:   map[identity.ID]*peer{},
		told:    map[identity.ID]string{},
	}
}

// enter reports whether something new may begin; it ends with wg.Done.
func (t *transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.wg.Add(1)
	return true
}

// stop cuts every connection and waits until nobody uses one. memberlist waits
// for answers to its pings, up to 24 s and deaf to its own end (0.7.0,
// probeNode): it gets them here.
func (t *transport) stop() {
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.cancel()
	t.wg.Wait()
	for seq, ok := t.waiting(); ok; seq, ok = t.waiting() {
		t.answer(seq)
	}
}

// waiting takes a ping from those without an answer.
func (t *transport) waiting() (seq uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pings) == 0 {
		return 0, false
	}
	seq = t.pings[0].seq
	t.pings = t.pings[1:]
	return seq, true
}

func (t *transport) answer(seq uint32) {
	ack, err := ackOf(seq)
	if err != nil {
		return
	}
	select {
	// Nothing is buffered: who takes it also reads it.
	case t.packets <- &memberlist.Packet{Buf: ack, From: &net.TCPAddr{}, Timestamp: time.Now()}:
	case <-time.After(takeWait):
	}
}

// takeWait is for a memberlist on a machine that is busy with other things.
const takeWait = 10 * time.Second

// FinalAdvertiseAddr is where the record of this node says that it is.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	a := t.m.o.Address.Addr().As4()
	return a[:], int(t.m.o.Address.Port()), nil
}

// WriteTo is not used: every peer has a name.
func (t *transport) WriteTo([]byte, string) (time.Time, error) { return time.Now(), nil }

// WriteToAddress leaves a packet for the peer's own goroutine. It never waits,
// and says no only to pings after the end: to memberlist a failed send is no
// failed probe. It forgets about it, and a peer that cannot be dialled would
// never be declared dead (0.7.0, probeNode).
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	now := time.Now()
	s, err := parseSeed(a)
	if err != nil {
		return now, nil
	}
	return now, t.post(s, b, now)
}

func (t *transport) post(to Seed, b []byte, now time.Time) error {
	vouched := t.m.o.Vouched(to.ID, to.At)
	seq, ping := pingOf(b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if ping && t.stopped {
		return net.ErrClosed
	}
	if ping {
		for len(t.pings) > 0 && now.Sub(t.pings[0].at) > pingMemory {
			t.pings = t.pings[1:]
		}
		t.pings = append(t.pings, sentPing{seq, now})
	}
	if p := t.peer(to.ID); vouched && p != nil {
		select {
		case p.queue <- parcel{b, to.At}:
		default: // like a router with a full queue
		}
	}
	return nil
}

// peer gives the peer a goroutine of its own, if it has none; nil after the
// end. It is called with mu held.
func (t *transport) peer(id identity.ID) *peer {
	p := t.peers[id]
	if p == nil && !t.stopped {
		p = newPeer(id)
		t.peers[id] = p
		t.wg.Go(func() { p.run(t) })
	}
	return p
}

// PacketCh is where packets come in.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where streams come in.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout is not used: every peer has a name.
func (t *transport) DialTimeout(string, time.Duration) (net.Conn, error) { return nil, errUnnamed }

// DialAddressTimeout opens a stream.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	s, err := parseSeed(a)
	if err != nil {
		return nil, err
	}
	if !t.enter() {
		return nil, net.ErrClosed
	}
	conn, err := t.open(s, kindStream, min(timeout, dialWait))
	if err != nil {
		t.wg.Done()
		return nil, err
	}
	stop := t.cutAtEnd(conn)
	return newStream(conn, func() {
		stop()
		t.wg.Done()
	}), nil
}

// Shutdown has nothing to do: Serve calls stop before.
func (t *transport) Shutdown() error { return nil }

// open dials a peer that is vouched for, and opens the conversation.
func (t *transport) open(s Seed, kind byte, timeout time.Duration) (*tls.Conn, error) {
	if !t.m.o.Vouched(s.ID, s.At) {
		return nil, errUnvouched
	}
	o := peerapi.DialOptions{Key: t.m.o.Key, ALPN: peerapi.ALPNMesh, Pin: s.ID, Timeout: timeout, Dial: t.m.o.Dial}
	conn, _, err := peerapi.DialProtocol(t.ctx, o.At(s.At))
	if err == nil {
		stop := t.cutAtEnd(conn)
		if err = t.m.greet(conn, kind); err != nil {
			cut(conn)
		}
		stop()
	}
	if err != nil {
		t.complain(s.ID, err)
		return nil, fmt.Errorf("dialling %s: %w", s.ID.Short(), err)
	}
	return conn, nil
}

// complain logs why a peer cannot be talked to: once at Warn if it does not
// heal by itself.
func (t *transport) complain(id identity.ID, err error) {
	level := slog.LevelDebug
	if errors.Is(err, errToken) || errors.Is(err, peerapi.ErrNoP2PRC) {
		t.mu.Lock()
		if t.told[id] != err.Error() {
			level = slog.LevelWarn
			if len(t.told) >= maxTold {
				clear(t.told)
			}
			t.told[id] = err.Error()
		}
		t.mu.Unlock()
	}
	t.m.o.Log.Log(t.ctx, level, "talking to a reverse proxy of the mesh", "peer", id, "err", err)
}

// cutAtEnd cuts a connection when the transport stops, until it is called off.
func (t *transport) cutAtEnd(conn *tls.Conn) (callOff func() bool) {
	return context.AfterFunc(t.ctx, func() { cut(conn) })
}

// cut closes a connection without a word: a goodbye under TLS would wait for a
// peer that does not read.
func cut(conn *tls.Conn) { conn.NetConn().Close() }

func parseSeed(a memberlist.Address) (Seed, error) {
	id, err := identity.ParseID(a.Name)
	if err != nil {
		return Seed{}, err
	}
	at, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return Seed{}, err
	}
	return Seed{id, netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, nil
}
