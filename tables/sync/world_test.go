package sync_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/record"
	p2psync "p2prc/tables/sync"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait is how long a test waits for what must come.
const wait = 20 * time.Second

// node is a node with its records.
type node struct {
	key    identity.Key
	id     identity.ID
	signer *record.Signer
	set    *record.Set
	own    *record.Own
	sync   *p2psync.Syncer
	synced chan identity.ID
}

func newNode(t testing.TB, change func(*p2psync.Options)) *node {
	t.Helper()
	return newNodeOf(t, record.Options{}, change)
}

func newNodeOf(t testing.TB, ro record.Options, change func(*p2psync.Options)) *node {
	t.Helper()
	n := &node{key: identity.NewKey(), synced: make(chan identity.ID, 100)}
	n.id = n.key.ID()
	var err error
	if n.signer, err = record.NewSigner(record.SignerOptions{Key: n.key}); err != nil {
		t.Fatal(err)
	}
	ro.Self = n.signer
	n.set = record.New(ro)
	if n.own, err = record.NewOwn(n.set); err != nil {
		t.Fatal(err)
	}
	o := p2psync.Options{Set: n.set, Self: n.id, Synced: func(id identity.ID) {
		select {
		case n.synced <- id:
		default:
		}
	}}
	if change != nil {
		change(&o)
	}
	n.sync = p2psync.New(o)
	return n
}

// newNodeWith is a node that knows a set which is not its own.
func newNodeWith(t testing.TB, set *record.Set) *node {
	t.Helper()
	return newNode(t, func(o *p2psync.Options) { o.Set = set })
}

func relay(o *p2psync.Options) { o.Relay = true }

func (n *node) proxy(i int) *record.Proxy {
	return &record.Proxy{
		Name: fmt.Sprintf("gate-%d", i), Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), NodePort: 8088, FRPPort: 7000,
		Pool: tables.PortRange{First: 20000, Last: 29999}, Free: 9000, Admission: tables.AdmitOpen, FRPVersion: "0.70.1", Version: "1",
	}
}

// claims are mappings of n on the proxy p.
func (n *node) claims(t testing.TB, p *node, count int) []record.Body {
	t.Helper()
	var out []record.Body
	for i := range count {
		signed := lease.Signed{
			Proxy: p.id, Node: n.id, Name: fmt.Sprintf("m%d", i), Type: tables.TCP, Port: uint16(20000 + i), LeaseID: fmt.Sprintf("l%d", i),
			Until: time.Now().Add(24 * time.Hour).Truncate(time.Second),
		}.Sign(p.key.Sign)
		c, err := record.NewClaim(signed, p.key.Public(), record.Claim{Server: "home", Address: netip.MustParseAddr("10.0.0.1")})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func (n *node) say(t testing.TB, bodies ...record.Body) {
	t.Helper()
	if err := n.own.Say(time.Now(), bodies...); err != nil {
		t.Fatal(err)
	}
}

// raws is what a set holds, as it travels.
func raws(s *record.Set) [][]byte {
	var out [][]byte
	for _, r := range s.All(time.Now()) {
		out = append(out, []byte(r.Raw()))
	}
	return out
}

// pair is a loopback TCP connection.
func pair(t testing.TB) (dialled, accepted net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if dialled, err = net.Dial("tcp4", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// running is something that serves until it is stopped.
type running struct {
	cancel context.CancelFunc
	ended  chan error
}

func run(t testing.TB, serve func(context.Context) error) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel, make(chan error, 1)}
	go func() { r.ended <- serve(ctx) }()
	t.Cleanup(cancel)
	return r
}

// end waits for it to end by itself.
func (r *running) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(wait):
		t.Fatal("it does not end")
		return nil
	}
}

func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	if err := r.end(t); err != nil {
		t.Errorf("stopped: %v", err)
	}
}

// attach connects a to b until the test ends.
func attach(t testing.TB, a, b *node, dialled, accepted net.Conn) (atA, atB *running) {
	t.Helper()
	atB = run(t, func(ctx context.Context) error { return b.sync.Serve(ctx, a.id, accepted) })
	atA = run(t, func(ctx context.Context) error { return a.sync.Attach(ctx, b.id, dialled) })
	return atA, atB
}

// await waits for the set to be as wanted, looking again at each change.
func await(t testing.TB, s *record.Set, what string, is func() bool) {
	t.Helper()
	w := s.Watch(1)
	defer w.Close()
	limit := time.After(wait)
	for !is() {
		select {
		case <-w.Wake():
			w.Take()
		case <-limit:
			t.Fatalf("%s: it does not come to that", what)
		}
	}
}

func same(a, b *record.Set) func() bool { return func() bool { return a.Sum() == b.Sum() } }
