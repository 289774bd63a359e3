package mesh_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/tables/identity"
	"p2prc/tables/mesh"
	"p2prc/tables/peerapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait is how long a test waits for what must come.
const wait = 30 * time.Second

// world is a number of reverse proxies in one process, and the network between
// them.
type world struct {
	t testing.TB

	mu      sync.Mutex // guards what follows, and the nodes' own
	changed chan struct{}
	nodes   map[identity.ID]*node
	apart   func(a, b identity.ID) bool // nil: everyone reaches everyone
	conns   map[*wire]bool
	dials   map[netip.AddrPort]int
	calm    bool // the usual pace, not that of tests

	noPushPull bool
	probeFast  bool
}

// node is a reverse proxy with a table of records in memory.
type node struct {
	w    *world
	key  identity.Key
	at   netip.AddrPort
	mesh *mesh.Mesh
	stop func() // ends its mesh, then its port, and waits for both
	kill func() // ends them without a goodbye

	records map[string]bool
	vouched map[mesh.Seed]bool
	events  []mesh.Event
	differs map[identity.ID]int
	fetches bool // what others know, when its digest differs
}

// wire counts what crosses a connection.
type wire struct {
	net.Conn
	w    *world
	a, b identity.ID
}

var sent atomic.Int64 // bytes, by all wires: each is the dialler's end

func (c *wire) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	sent.Add(int64(n))
	return n, err
}

func (c *wire) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	sent.Add(int64(n))
	return n, err
}

func (c *wire) Close() error {
	c.w.mu.Lock()
	delete(c.w.conns, c)
	c.w.change()
	c.w.mu.Unlock()
	return c.Conn.Close()
}

func newWorld(t testing.TB) *world {
	return &world{t: t, changed: make(chan struct{}), nodes: map[identity.ID]*node{}, conns: map[*wire]bool{}, dials: map[netip.AddrPort]int{}}
}

var lastHost atomic.Uint32

func (w *world) start(ln net.Listener, key identity.Key, change func(*mesh.Options)) *node {
	w.t.Helper()
	n := &node{
		w: w, key: key, at: ln.Addr().(*net.TCPAddr).AddrPort(),
		records: map[string]bool{}, vouched: map[mesh.Seed]bool{}, differs: map[identity.ID]int{}, fetches: true,
	}
	n.Deliver(n.record())
	o := mesh.Options{
		Key: key, Address: n.at, Record: n.record, Vouched: n.Vouched, Known: n.Known, Dial: n.dial,
		Deliver: n.Deliver, Digest: n.Digest, Differ: n.Differ, Event: n.Event,
	}
	if change != nil {
		change(&o)
	}
	m, err := mesh.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	n.mesh = m
	w.mu.Lock()
	w.nodes[key.ID()] = n
	w.mu.Unlock()
	return n
}

// serve runs the node's port and mesh until the test ends.
func (n *node) serve(ln net.Listener) *node {
	n.w.t.Helper()
	meshCtx, stopMesh := context.WithCancel(context.Background())
	portCtx, stopPort := context.WithCancel(context.Background())
	port := peerapi.NewPort(ln, peerapi.PortOptions{
		Key: n.key, Info: func() peerapi.ServerInfo { return peerapi.ServerInfo{} },
		Protocols: map[string]peerapi.Protocol{peerapi.ALPNMesh: n.mesh.Handle},
	})
	meshEnd, portEnd := make(chan error, 1), make(chan error, 1)
	go func() { meshEnd <- n.mesh.Serve(meshCtx) }()
	go func() { portEnd <- port.Serve(portCtx) }()
	ended := func(what string, end <-chan error) {
		select {
		case err := <-end:
			if err != nil {
				n.w.t.Errorf("%s: %v", what, err)
			}
		case <-time.After(wait):
			n.w.t.Errorf("%s does not end", what)
		}
	}
	n.stop = sync.OnceFunc(func() {
		stopMesh()
		ended("mesh", meshEnd)
		stopPort()
		ended("port", portEnd)
	})
	n.kill = func() {
		stopPort()
		ended("port", portEnd)
		portEnd <- nil
		n.w.part(func(a, b identity.ID) bool { return a == n.id() || b == n.id() })
		n.stop()
	}
	n.w.t.Cleanup(n.stop)
	return n
}

func (n *node) id() identity.ID { return n.key.ID() }

func (n *node) seed() mesh.Seed { return mesh.Seed{ID: n.id(), At: n.at} }

// record is the node's own proxy record. Nothing is signed here: that is
// another package's to check.
func (n *node) record() []byte { return []byte("proxy " + n.seed().String()) }

func (n *node) Deliver(raw []byte) bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.deliver(raw)
}

func (n *node) deliver(raw []byte) bool {
	if n.records[string(raw)] {
		return false
	}
	if seed, ok := strings.CutPrefix(string(raw), "proxy "); ok {
		id, at, _ := strings.Cut(seed, "/")
		a, err := netip.ParseAddrPort(at)
		if err != nil {
			return false
		}
		n.vouched[mesh.Seed{ID: identity.ID(id), At: a}] = true
	}
	n.records[string(raw)] = true
	n.w.change()
	return true
}

func (n *node) Vouched(id identity.ID, at netip.AddrPort) bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.vouched[mesh.Seed{ID: id, At: at}]
}

func (n *node) Known() []mesh.Seed {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return slices.Collect(maps.Keys(n.vouched))
}

// Digest has 256 buckets, as the real one.
func (n *node) Digest() []byte {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	var buckets [256]uint64
	for r := range n.records {
		sum := sha256.Sum256([]byte(r))
		buckets[sum[0]] ^= binary.BigEndian.Uint64(sum[1:])
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.BigEndian, buckets)
	return b.Bytes()
}

// Differ fetches all that the other knows, as sync would.
func (n *node) Differ(peer identity.ID) {
	n.w.mu.Lock()
	n.differs[peer]++
	n.w.change()
	other := n.w.nodes[peer]
	if !n.fetches || other == nil { // a rogue has nothing to tell
		n.w.mu.Unlock()
		return
	}
	for _, r := range slices.Collect(maps.Keys(other.records)) {
		n.deliver([]byte(r))
	}
	n.w.mu.Unlock()
	n.mesh.Learned()
}

func (n *node) Event(e mesh.Event) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.events = append(n.events, e)
	n.w.change()
}

// dial is the network: it knows who dials, and whom.
func (n *node) dial(ctx context.Context, network, address string) (net.Conn, error) {
	to := n.w.at(address)
	n.w.mu.Lock()
	apart := n.w.apart
	n.w.dials[netip.MustParseAddrPort(address)]++
	n.w.change()
	n.w.mu.Unlock()
	if apart != nil && apart(n.id(), to) {
		return nil, syscall.EHOSTUNREACH
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &wire{conn, n.w, n.id(), to}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.w.apart != nil && n.w.apart(n.id(), to) { // by now
		conn.Close()
		return nil, syscall.EHOSTUNREACH
	}
	n.w.conns[c] = true
	n.w.change()
	return c, nil
}

func (w *world) dialsTo(at netip.AddrPort) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[at]
}

// at is who listens there.
func (w *world) at(address string) identity.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range w.nodes {
		if n.at.String() == address {
			return id
		}
	}
	return ""
}

// part cuts the connections between those who are apart, and keeps them so.
func (w *world) part(apart func(a, b identity.ID) bool) {
	w.mu.Lock()
	w.apart = apart
	var gone []*wire
	for c := range w.conns {
		if apart != nil && apart(c.a, c.b) {
			gone = append(gone, c)
		}
	}
	w.mu.Unlock()
	for _, c := range gone {
		c.Close()
	}
}

// change is called with mu held.
func (w *world) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until cond holds, and looks whenever a node heard something. It
// gives how long that took.
func (w *world) await(what string, cond func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	deadline := time.After(wait)
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if cond() {
			return time.Since(start)
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatalf("%s: not after %s\n%s", what, wait, w.state())
		}
	}
}

func (w *world) state() string {
	w.mu.Lock()
	nodes := slices.Collect(maps.Values(w.nodes))
	w.mu.Unlock()
	var b strings.Builder
	for _, n := range nodes {
		w.mu.Lock()
		fmt.Fprintf(&b, "%s has %d members and %d records\n", n.id().Short(), len(n.mesh.Members()), len(n.records))
		w.mu.Unlock()
	}
	return b.String()
}

// build makes a mesh of size nodes, in a hurry, and waits for it.
func (w *world) build(size int, change func(*mesh.Options)) []*node {
	w.t.Helper()
	var all []*node
	for range size {
		all = append(all, w.join(change, all...))
	}
	w.await("everyone is here", func() bool { return complete(all) })
	return all
}

// join makes a node that knows the first of the others.
func (w *world) join(change func(*mesh.Options), others ...*node) *node {
	w.t.Helper()
	ln, err := w.listen()
	if err != nil {
		w.t.Fatal(err)
	}
	n := w.start(ln, identity.NewKey(), change)
	if !w.calm {
		n.mesh.Hurry()
	}
	if w.probeFast {
		n.mesh.ProbeFast()
	}
	if w.noPushPull {
		n.mesh.NoPushPull()
	}
	if len(others) > 0 {
		n.Deliver(others[0].record())
	}
	return n.serve(ln)
}

// listen takes a loopback address of the node's own, where the system has more
// than one.
func (w *world) listen() (net.Listener, error) {
	n := lastHost.Add(1)
	ln, err := net.Listen("tcp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 89, byte(n >> 8), byte(n)}), 0).String())
	if err != nil {
		ln, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	return ln, err
}

// complete reports whether each of them has all others.
func complete(all []*node) bool {
	return !slices.ContainsFunc(all, func(n *node) bool { return len(n.mesh.Members()) != len(all)-1 })
}

// paired reports whether each pair of so many nodes has one connection.
func (w *world) paired(nodes int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	pairs := map[[2]identity.ID]int{}
	for c := range w.conns {
		pairs[[2]identity.ID{min(c.a, c.b), max(c.a, c.b)}]++
	}
	for _, n := range pairs {
		if n > 1 {
			return false
		}
	}
	return len(pairs) == nodes*(nodes-1)/2
}

func (n *node) has(other *node) bool {
	return slices.Contains(n.mesh.Members(), other.seed())
}

func (n *node) knows(raw []byte) bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.records[string(raw)]
}

func (n *node) heard(e mesh.Event) bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return slices.Contains(n.events, e)
}
