package mesh

import (
	"bufio"
	"crypto/tls"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"p2prc/tables/identity"
)

const (
	maxParcels = 64              // packets that wait for one peer
	writeWait  = 5 * time.Second // a peer that takes nothing for so long is cut off
	// redialPause keeps a peer that refuses from being dialled for every packet.
	redialPause = time.Second
	// redialSoon is for the connection that the peer makes at this moment.
	redialSoon = 200 * time.Millisecond
	// young connections may have met another one on their way.
	young = 10 * time.Second
	// retireWait is for what is still on its way on a connection that gave way.
	retireWait = 5 * time.Second
)

// parcel is a packet and where its peer is, if it has to be dialled.
type parcel struct {
	b  []byte
	at netip.AddrPort
}

// peer is another proxy, as far as packets go. One goroutine writes to it, and
// dials it when there is something to write and no connection.
type peer struct {
	id    identity.ID
	queue chan parcel
	broke chan netip.AddrPort // its connection did: where it was
	line  *line               // that is written to; guarded by the transport's mu

	mu       sync.Mutex // guards what follows
	heard    time.Time  // when its last packet came
	messages budget
	bytes    budget
	streams  budget
}

// line is a connection that carries packets, both ways.
type line struct {
	conn    *tls.Conn
	at      netip.AddrPort // where the peer can be dialled
	dialled bool           // by this node
	since   time.Time
	buf     []byte // of the goroutine that writes, as is what follows
	wrote   time.Time
}

func newPeer(id identity.ID) *peer {
	return &peer{
		id: id, queue: make(chan parcel, maxParcels), broke: make(chan netip.AddrPort, 1),
		messages: newBudget(messagesAtOnce, messagesPerSecond),
		bytes:    newBudget(bytesAtOnce, bytesPerSecond),
		streams:  newBudget(streamsAtOnce, streamsPerSecond),
	}
}

// run writes what is queued, shows signs of life, and ends when the peer was
// not needed for a while.
func (p *peer) run(t *transport) {
	beat := time.NewTicker(t.m.pace.silence / 3)
	defer beat.Stop()
	var notBefore time.Time
	var again again
	for unused := 0; ; {
		select {
		case <-t.ctx.Done():
			return
		case x := <-p.queue:
			unused = 0
			l := t.lineOf(p)
			if l == nil && time.Now().After(notBefore) {
				if l = p.dial(t, x.at); l == nil {
					notBefore = time.Now().Add(redialPause)
				}
			}
			if l != nil {
				l.write(x.b)
			}
		case at := <-p.broke:
			again.begin(at)
		case <-again.due:
			if t.lineOf(p) != nil || !t.m.has(Seed{p.id, again.at}) || p.dial(t, again.at) != nil {
				again.due = nil
			} else if again.failed() {
				t.m.lost(Seed{p.id, again.at})
			}
		case <-beat.C:
			unused++
			if l := t.lineOf(p); l != nil && time.Since(l.wrote) > t.m.pace.silence/4 {
				l.write(nil)
			} else if l == nil && unused > 3 && t.forget(p) {
				return
			}
		}
	}
}

// again is when a peer whose connection broke is dialled again: at once, since
// it may just have been restarted, and once more. A process that was killed is
// known to be gone so, long before probes tell.
type again struct {
	at    netip.AddrPort
	due   <-chan time.Time // nil: not at all
	tries int
}

func (a *again) begin(at netip.AddrPort) { *a = again{at: at, due: time.After(jitter(redialSoon))} }

// failed reports whether that was the last attempt.
func (a *again) failed() bool {
	if a.tries++; a.tries < 2 {
		a.due = time.After(redialPause)
		return false
	}
	a.due = nil
	return true
}

// dial opens a connection in the peer's own goroutine, and reads it in another.
func (p *peer) dial(t *transport, at netip.AddrPort) *line {
	conn, err := t.open(Seed{p.id, at}, kindPackets, dialWait)
	if err != nil {
		return nil
	}
	l := newLine(conn, at, true)
	t.wg.Go(func() { t.read(p, l) }) // p's own goroutine is counted still
	// Another one may have come in meanwhile, and be the better one.
	return t.attach(p, l)
}

func newLine(conn *tls.Conn, at netip.AddrPort, dialled bool) *line {
	return &line{conn: conn, at: at, dialled: dialled, since: time.Now(), wrote: time.Now()}
}

// write sends a packet. A connection that does not take it is cut, and its
// reader notices; the packet is lost.
func (l *line) write(packet []byte) {
	l.buf = appendFrame(l.buf[:0], packet)
	l.wrote = time.Now()
	err := l.conn.SetWriteDeadline(l.wrote.Add(writeWait))
	if err == nil {
		_, err = l.conn.Write(l.buf)
	}
	if err != nil {
		cut(l.conn)
	}
}

// spend takes in that the peer sent a packet, and reports whether it may send
// that much.
func (p *peer) spend(messages, bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
	return p.messages.take(float64(messages)) && p.bytes.take(float64(bytes))
}

func (p *peer) spendStream() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams.take(1)
}

func (t *transport) heard(id identity.ID) time.Time {
	t.mu.Lock()
	p := t.peers[id]
	t.mu.Unlock()
	if p == nil {
		return time.Time{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard
}

func (t *transport) lineOf(p *peer) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.line
}

// attach makes l the connection that is written to, and gives the one that is.
// The newest wins, since the peer made it for a reason. When both ends dialled
// at once, each has two new ones: then both take that of the smaller ID.
func (t *transport) attach(p *peer, l *line) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := p.line
	if old == nil {
		p.line = l
		return l
	}
	gone := old
	if smaller := t.m.o.Key.ID() < p.id; old.dialled != l.dialled && time.Since(old.since) < young && old.dialled == smaller {
		gone = l
	} else {
		p.line = l
	}
	time.AfterFunc(retireWait, func() { cut(gone.conn) })
	return p.line
}

func (t *transport) detach(p *peer, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.line != l {
		return
	}
	p.line = nil
	select {
	case p.broke <- l.at:
	default:
	}
}

// forget reports whether the peer is really not needed.
func (t *transport) forget(p *peer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.line != nil || len(p.queue) > 0 {
		return false
	}
	delete(t.peers, p.id)
	return true
}

// hangUp cuts the connection to a peer.
func (t *transport) hangUp(id identity.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.peers[id]; p != nil && p.line != nil {
		cut(p.line.conn)
	}
}

// weed cuts the connections to those for whom nobody vouches any more.
func (t *transport) weed() {
	t.mu.Lock()
	lines := map[Seed]*line{}
	for id, p := range t.peers {
		if p.line != nil {
			lines[Seed{id, p.line.at}] = p.line
		}
	}
	t.mu.Unlock()
	for s, l := range lines {
		if !t.m.o.Vouched(s.ID, s.At) {
			cut(l.conn)
		}
	}
}

// drain waits until everything queued is on its way.
func (t *transport) drain(most time.Duration) {
	for end := time.Now().Add(most); time.Now().Before(end); {
		if !t.queued() {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (t *transport) queued() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		if len(p.queue) > 0 && p.line != nil {
			return true
		}
	}
	return false
}

// read hands on what comes in on a line, until it ends or says what no member
// says.
func (t *transport) read(p *peer, l *line) {
	defer t.detach(p, l)
	defer cut(l.conn)
	defer t.cutAtEnd(l.conn)()
	if err := t.readAll(p, l); err != nil {
		t.m.o.Log.Debug("reading packets of the mesh", "peer", p.id, "err", err)
	}
}

func (t *transport) readAll(p *peer, l *line) error {
	r := bufio.NewReader(l.conn)
	for {
		if err := l.conn.SetReadDeadline(time.Now().Add(t.m.pace.silence)); err != nil {
			return err
		}
		b, err := readFrame(r)
		if err != nil {
			return err
		}
		var parts [][]byte
		if len(b) > 0 {
			if parts, err = messages(b); err != nil {
				return err
			}
		}
		if !p.spend(1+len(parts), len(b)) {
			return errFlood
		}
		if len(parts) == 0 {
			continue
		}
		select {
		case t.packets <- &memberlist.Packet{Buf: b, From: l.conn.RemoteAddr(), Timestamp: time.Now()}:
		case <-t.ctx.Done():
			return nil
		}
	}
}
