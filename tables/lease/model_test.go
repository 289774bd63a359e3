package lease_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2prc/tables"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

// The property: real book, model of everything around it. Nodes behind NAT
// with one mapping each, more than the proxy has ports, do what design.md lets
// them do, while processes crash, replies get lost, ports are stolen, tunnels
// go dead and disks fill up; what must hold is checked after every step.
//
// The model's nodes are as careful as the server has to be. Each mutation takes
// one part of that care away, and the property must find out
// (TestModel_findsMutations): it is what shows that the check has teeth.

type mutation string

const (
	none            mutation = ""
	noGate          mutation = "noGate"          // frps opens whatever it is asked to
	ignoreListeners mutation = "ignoreListeners" // the proxy grants without looking who listens
	expFromReceive  mutation = "expFromReceive"  // nodes count a lease from the reply, not from the request
	trustStatus     mutation = "trustStatus"     // nodes take frpc's "running" for a proof
)

const (
	modelNodes = 3
	mapped     = "ssh"
)

var modelPool = tables.PortRange{First: 20000, Last: 20001}

// step is one thing that happens. What does not apply at the time is passed over.
type step struct {
	Op    string
	N     int           // which node
	P     uint16        // which port
	D     time.Duration // how long it takes
	Lost  bool          // the reply does not arrive
	Crash bool          // the proxy's p2prc dies before the reply
}

// ops, with those that lead somewhere more often than those that spoil it.
var ops = []string{
	"advance", "advance", "advance", "reserve", "reserve", "reserve", "another", "frpcStart", "frpcStart",
	"connect", "connect", "connect", "verify", "verify", "verify", "bringUp", "bringUp", "release", "nodeTick", "nodeTick",
	"list", "observe", "observe", "look", "look", "steal", "unsteal", "nodeCrash", "nodeStart", "frpcKill",
	"pCrash", "pStart", "pStart", "frpsKill", "frpsStart", "frpsStart", "blackhole", "heal", "hbTimeout", "diskFull", "diskFree",
}

var histories = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
	return step{
		Op:    rapid.SampledFrom(ops).Draw(t, "op"),
		N:     rapid.IntRange(0, modelNodes-1).Draw(t, "n"),
		P:     uint16(rapid.IntRange(int(modelPool.First), int(modelPool.Last)).Draw(t, "p")),
		D:     rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Second, 45 * time.Second, 5 * time.Minute, 10 * time.Minute}).Draw(t, "d"),
		Lost:  rapid.IntRange(0, 4).Draw(t, "lost") == 0,
		Crash: rapid.IntRange(0, 15).Draw(t, "crash") == 0,
	}
}), 150, 200)

// modelNode is a server as it remembers itself, and its frpc.
type modelNode struct {
	up        bool
	blackhole bool // its tunnel is dead and nobody has noticed

	state   string // "", reserved, committed
	lease   peerapi.Lease
	until   time.Time // by its own count
	failed  bool      // frpc said start error
	lastReq string

	frpc struct {
		up, conn bool
		lease    peerapi.Lease // that it was configured with
	}
}

type model struct {
	*world
	mut    mutation
	book   *lease.Book // nil: the proxy's p2prc is down
	frpsUp bool
	nodes  [modelNodes]modelNode
	reqs   int

	listed   []lease.Online // the listing under way
	listedAt time.Time
}

// play runs a history and returns what must not happen, if it did.
func play(history []step, mut mutation) error {
	m := &model{world: newWorld(), mut: mut, frpsUp: true}
	m.blind = mut == ignoreListeners
	for i := range m.nodes {
		m.nodes[i].up = true
	}
	if err := m.start(); err != nil {
		return err
	}
	for i, s := range history {
		if err := m.do(s); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, s, err)
		}
		if err := m.check(); err != nil {
			return fmt.Errorf("after step %d, %+v: %w", i, s, err)
		}
	}
	return nil
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if err := play(histories.Draw(t, "history"), none); err != nil {
			t.Fatal(err)
		}
	})
}

// mutantSeeds is how many histories a mutation may survive. They are the same
// in every run; TestModel_findsMutations logs how many were needed.
const mutantSeeds = 3000

func TestModel_findsMutations(t *testing.T) {
	for _, mut := range []mutation{noGate, ignoreListeners, expFromReceive, trustStatus} {
		t.Run(string(mut), func(t *testing.T) {
			t.Parallel()
			for seed := 1; seed <= mutantSeeds; seed++ {
				if err := play(histories.Example(seed), mut); err != nil {
					t.Logf("found in history %d: %v", seed, err)
					return
				}
			}
			t.Errorf("%d histories did not show that %s breaks a promise", mutantSeeds, mut)
		})
	}
}

func (m *model) start() error {
	b, err := lease.New(m.options(modelPool))
	if err != nil {
		return err
	}
	m.book = b
	m.listed = nil
	if m.frpsUp {
		_, err = b.Observe(m.now, m.admin())
	} else {
		b.FRPSGone()
	}
	if m.disk != nil {
		err = nil // what could not be written is tried again
	}
	return err
}

func (m *model) crash() {
	m.book = nil
	m.died()
}

// admin is the listing of frps's admin API.
func (m *model) admin() []lease.Online {
	if m.mut == ignoreListeners {
		return nil
	}
	return m.listing()
}

func (m *model) do(s step) error {
	n := &m.nodes[s.N]
	id := nodeID(s.N)
	switch s.Op {
	case "advance":
		m.now = m.now.Add(s.D)
	case "reserve", "another":
		return m.reserve(s)
	case "frpcStart":
		if n.up && n.state != "" && !n.frpc.up {
			n.frpc.up, n.frpc.lease = true, n.lease
		}
	case "connect":
		return m.connect(s)
	case "verify":
		return m.verify(s)
	case "bringUp": // all of it at once, since it is what a server does
		for _, op := range []string{"reserve", "frpcStart", "connect", "verify"} {
			if err := m.do(step{Op: op, N: s.N, D: min(s.D, time.Second)}); err != nil {
				return err
			}
		}
	case "release":
		if n.up && n.state != "" {
			l := n.lease
			m.stopFRPC(s.N)
			n.state = ""
			if m.book != nil && !n.blackhole && !s.Lost {
				if err := m.book.Release(id, []string{l.ID}); err != nil && m.disk == nil {
					return err
				}
			}
		}
	case "nodeTick": // a node never uses a lease beyond its own count
		if n.up && n.state != "" && !m.now.Before(n.until) {
			m.stopFRPC(s.N)
			n.state = ""
		}
	case "list": // and it takes a while until the answer is used
		if m.book != nil && m.frpsUp {
			m.listed, m.listedAt = m.admin(), m.now
		}
	case "observe":
		if m.book != nil && m.listed != nil {
			return m.observe(m.listedAt, m.listed)
		}
	case "look":
		if m.book != nil && m.frpsUp {
			return m.observe(m.now, m.admin())
		}
	case "steal":
		if p := (port{tables.TCP, s.P}); m.guards[p] == nil {
			if _, busy := m.frps[p]; !busy {
				m.thief[p] = true
			}
		}
	case "unsteal":
		delete(m.thief, port{tables.TCP, s.P})
	case "nodeCrash":
		n.up = false
	case "nodeStart":
		n.up = true
	case "frpcKill":
		m.stopFRPC(s.N)
	case "pCrash":
		m.crash()
	case "pStart":
		if m.book == nil {
			return m.start()
		}
	case "frpsKill":
		m.frpsUp = false
		clear(m.frps)
		for i := range m.nodes {
			m.nodes[i].frpc.conn = false
		}
		if m.book != nil {
			m.book.FRPSGone()
		}
	case "frpsStart": // it is p2prc's child
		m.frpsUp = m.frpsUp || m.book != nil
	case "blackhole":
		n.blackhole = true
	case "heal":
		n.blackhole = false
	case "hbTimeout": // frps notices
		if n.blackhole && n.frpc.conn {
			m.disconnect(s.N, s.Lost)
		}
	case "diskFull":
		m.disk = errors.New("no space left on device")
	case "diskFree":
		m.disk = nil
	default:
		return fmt.Errorf("no such step")
	}
	return nil
}

func (m *model) observe(asked time.Time, online []lease.Online) error {
	_, err := m.book.Observe(asked, online)
	if m.disk != nil {
		return nil
	}
	return err
}

// reserve asks for a lease; a node that got no answer asks again under the same ID.
func (m *model) reserve(s step) error {
	n := &m.nodes[s.N]
	if !n.up || m.book == nil || n.state != "" || n.blackhole {
		return nil
	}
	if n.lastReq == "" {
		m.reqs++
		n.lastReq = fmt.Sprintf("r%d", m.reqs)
	}
	another := s.Op == "another" && n.failed
	w := peerapi.Want{Name: mapped, Type: tables.TCP, Candidates: []uint16{s.P}, Another: another}
	key := tables.ReservationKey{NodeID: nodeID(s.N), Name: mapped}
	before, had := m.db[key]
	sent := m.now
	leases, err := m.book.Reserve(nodeID(s.N), request(n.lastReq, w))
	if s.Crash {
		m.crash()
	}
	if err == nil && !s.Crash {
		if err := m.granted(s.N, before, had && !another, leases[0]); err != nil {
			return err
		}
	}
	m.now = m.now.Add(min(s.D, 20*time.Second))
	if err != nil || s.Crash || s.Lost {
		return nil
	}
	n.lastReq, n.failed = "", false
	counted := sent
	if m.mut == expFromReceive {
		counted = m.now
	}
	if until := counted.Add(leases[0].TTL.Duration()); m.now.Before(until) {
		n.state, n.lease, n.until = "reserved", leases[0], until
	}
	return nil
}

// granted checks what an answer promises.
func (m *model) granted(n int, before tables.Reservation, keeps bool, l peerapi.Lease) error {
	p := port{l.Type, l.Port}
	switch on, busy := m.frps[p]; {
	case m.db[tables.ReservationKey{NodeID: nodeID(n), Name: mapped}].LeaseID != l.ID:
		return errors.New("an answer that was not committed")
	case l.Guarded != (m.guards[p] != nil) && m.mut != noGate:
		return fmt.Errorf("Guarded is %t, which is not so", l.Guarded)
	case busy && on.Node != nodeID(n) && !m.blind:
		return fmt.Errorf("port %d was granted while frps has it for another node", l.Port)
	}
	old := port{before.Type, before.Port}
	if on, busy := m.frps[old]; keeps && p != old && !m.thief[old] && (!busy || on.Node == nodeID(n)) {
		return fmt.Errorf("the same node and name got port %d after %d", l.Port, before.Port)
	}
	return nil
}

// connect is frpc registering its proxy.
func (m *model) connect(s step) error {
	n := &m.nodes[s.N]
	if !n.frpc.up || n.frpc.conn || !m.frpsUp || n.blackhole {
		return nil
	}
	l := n.frpc.lease
	if m.mut == noGate {
		delete(m.guards, port{l.Type, l.Port})
	} else if m.book == nil || admit(m.book, nodeID(s.N), l) != nil {
		return nil
	}
	n.frpc.conn = m.bind(lease.Online{Node: nodeID(s.N), Name: l.Name, Type: l.Type, Port: l.Port})
	n.failed = !n.frpc.conn
	return nil
}

// proved is a nonce's way from outside through the public port to the node's
// own listener and back.
func (m *model) proved(i int) bool {
	n := &m.nodes[i]
	on, ok := m.frps[port{n.lease.Type, n.lease.Port}]
	return ok && on.Node == nodeID(i) && n.frpc.up && n.frpc.conn && !n.blackhole && n.frpc.lease.Port == n.lease.Port
}

// verify is a report to the proxy after a proof, and the commit when it agrees.
func (m *model) verify(s step) error {
	n := &m.nodes[s.N]
	if !n.up || m.book == nil || n.state == "" || !n.frpc.up {
		return nil
	}
	sent := m.now
	ok := m.proved(s.N)
	if m.mut == trustStatus {
		ok = n.frpc.conn
	}
	if !ok {
		return nil
	}
	m.book.Seen(m.listing())
	got, err := m.book.Renew(nodeID(s.N), []lease.Renewal{{LeaseID: n.lease.ID}})
	if s.Crash {
		m.crash()
	}
	proved := m.proved(s.N)
	m.now = m.now.Add(s.D)
	if err != nil || s.Crash || s.Lost || got[0].TTL == 0 {
		return nil
	}
	counted := sent
	if m.mut == expFromReceive {
		counted = m.now
	}
	n.until = counted.Add(got[0].TTL)
	if !got[0].Online {
		return nil
	}
	if !proved {
		return fmt.Errorf("I5: node %d committed port %d, which does not work", s.N, n.lease.Port)
	}
	n.state = "committed"
	return nil
}

func (m *model) stopFRPC(i int) {
	if m.nodes[i].frpc.conn {
		m.disconnect(i, false)
	}
	m.nodes[i].frpc.up = false
}

func (m *model) disconnect(i int, untold bool) {
	n := &m.nodes[i]
	n.frpc.conn = false
	delete(m.frps, port{n.frpc.lease.Type, n.frpc.lease.Port})
	if m.book != nil && !untold {
		m.book.Closed(nodeID(i), mapped)
	}
}

// check is the invariants of every moment.
func (m *model) check() error {
	holder := make(map[port]int) // of a live lease, by the book or, without one, the disk
	guarded := make(map[port]bool)
	for i := range m.nodes {
		r, ok := m.db[tables.ReservationKey{NodeID: nodeID(i), Name: mapped}]
		live := ok && m.now.Before(r.LeaseUntil)
		if m.book != nil {
			st, known := m.book.Get(nodeID(i), mapped)
			if known != ok || ok && st.Reservation != r {
				return fmt.Errorf("I8: the book says %+v, the disk %+v", st.Reservation, r)
			}
			live = st.Left > 0
			guarded[port{st.Type, st.Port}] = st.Guarded
			if g := m.guards[port{st.Type, st.Port}]; known && m.mut != noGate && st.Guarded != (g != nil && g.id == st.LeaseID) {
				return fmt.Errorf("Guarded is %t for node %d on port %d, which is not so", st.Guarded, i, st.Port)
			}
		}
		if !live {
			continue
		}
		p := port{r.Type, r.Port}
		if other, twice := holder[p]; twice {
			return fmt.Errorf("I1: nodes %d and %d both have a lease on port %d", other, i, p.n)
		}
		holder[p] = i
	}
	for p := range m.guards {
		if !guarded[p] {
			return fmt.Errorf("a guard is left on port %d", p.n)
		}
	}
	for p, on := range m.frps {
		if i, leased := holder[p]; leased && nodeID(i) != on.Node {
			return fmt.Errorf("I2: frps listens on %d for another node than %d, who has the lease", p.n, i)
		}
	}
	published := make(map[port]int)
	for i, n := range m.nodes {
		if n.state != "committed" || !m.now.Before(n.until) {
			continue
		}
		p := port{n.lease.Type, n.lease.Port}
		if other, twice := published[p]; twice {
			return fmt.Errorf("I3: nodes %d and %d both publish port %d", other, i, p.n)
		}
		published[p] = i
		if owner, leased := holder[p]; !leased || owner != i {
			return fmt.Errorf("I4: node %d publishes port %d without a lease at the proxy", i, p.n)
		}
	}
	return nil
}
