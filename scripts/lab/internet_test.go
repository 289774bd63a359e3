//go:build linux

package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Addresses of the internet. They have to count as public: a node dials no
// others that it is told of.
const (
	rp1Addr = "11.0.0.1"
	rp2Addr = "11.0.0.2"
	rp3Addr = "11.0.0.3"
	naAddr  = "11.0.0.21" // the outer side of the router of a1 and a2
)

// internet is a lab with many hosts:
//
//	rp1 11.0.0.1    rp2 11.0.0.2    rp3 11.0.0.3    ext 11.0.0.77
//	      \              |               |              /
//	       +------------------- wan -------------------+
//	                 |                    |
//	          na 11.0.0.21         nb 11.0.0.22     each with 10.1.0.1 inside
//	            /      \             /      \
//	          a1        a2         b1        b2     10.1.0.2 and 10.1.0.3
//
// Each proxy joined the one before it. a1 is reached by rp1, or else rp2; a2 by
// rp1; b1 by rp3, or else rp2; b2 by rp3. All have a web service.
type internet struct {
	*lab
	wan, na, ext           host
	rp1, rp2, rp3          *node
	a1, a2, b1, b2, client *node // client never runs, it only asks
	vigils                 []*process
}

// internetWires makes the internet whose namespaces begin with $L. What the
// switch does not pass on is a cut in the middle, of which nobody is told.
const internetWires = router + `
for h in wan rp1 rp2 rp3 na nb a1 a2 b1 b2 ext; do ip netns add $L$h; ip -n $L$h link set lo up; done
ip -n ${L}wan link add br0 type bridge
ip -n ${L}wan link set br0 up
ip netns exec ${L}wan nft 'add table bridge lab; add chain bridge lab cuts { type filter hook forward priority 0; policy accept; }'
plug() { # host, address, switch, the bridge in it
	ip link add eth0 netns $L$1 type veth peer name $1 netns $L$3
	ip -n $L$3 link set $1 master $4 up
	ip -n $L$1 addr add $2/24 dev eth0
	ip -n $L$1 link set eth0 up
}
plug rp1 ` + rp1Addr + ` wan br0
plug rp2 ` + rp2Addr + ` wan br0
plug rp3 ` + rp3Addr + ` wan br0
plug ext 11.0.0.77 wan br0
plug na ` + naAddr + ` wan br0
plug nb 11.0.0.22 wan br0
for r in a b; do
	ip -n ${L}n$r link add in0 type bridge
	ip -n ${L}n$r addr add 10.1.0.1/24 dev in0
	ip -n ${L}n$r link set in0 up
	route n$r
	for i in 1 2; do
		plug $r$i 10.1.0.$((i + 1)) n$r in0
		ip -n $L$r$i route add default via 10.1.0.1
	done
done
`

// newInternet starts all nodes and returns once everybody's tables have all.
func newInternet(t *testing.T) *internet {
	t.Helper()
	l := wireUp(t, internetWires, "rp1", "rp2", "rp3", "a1", "a2", "b1", "b2", "na", "nb", "ext", "wan")
	in := &internet{lab: l, wan: host{l, "wan"}, na: host{l, "na"}, ext: host{l, "ext"}}
	started := time.Now()
	in.rp1 = host{l, "rp1"}.reverseProxy("rp1")
	in.rp2 = host{l, "rp2"}.reverseProxy("rp2", "--join", rp1Addr)
	in.rp3 = host{l, "rp3"}.reverseProxy("rp3", "--join", rp2Addr)
	var joins []string
	for _, n := range []*node{in.rp1, in.rp2, in.rp3} {
		n.run(nil)
		n.awaitReady()
		joins = append(joins, n.joinString())
	}
	in.a1 = host{l, "a1"}.server("a1", []string{joins[0], joins[1]}, mapWeb)
	in.a2 = host{l, "a2"}.server("a2", joins[:1], mapWeb)
	in.b1 = host{l, "b1"}.server("b1", []string{joins[2], joins[1]}, mapWeb)
	in.b2 = host{l, "b2"}.server("b2", joins[2:], mapWeb)
	for _, n := range []*node{in.a1, in.a2, in.b1, in.b2} {
		n.host.startHelper("web", "127.0.0.1:8000")
		n.run(nil)
	}
	in.awaitTables("everybody started", started, upLimit, in.all(), in.nodes()...)

	in.client = in.ext.node("client")
	asked := time.Now()
	in.client.askOnHost("--add-server", rp3Addr)
	in.awaitTables("a client that knows one proxy, --add-server", asked, 0, in.all(), in.client)
	return in
}

// nodes are all that run when nothing is wrong.
func (in *internet) nodes() []*node {
	return append(in.proxies(), in.a1, in.a2, in.b1, in.b2)
}

func (in *internet) proxies() []*node { return []*node{in.rp1, in.rp2, in.rp3} }

// What a table says of a reverse proxy or a mapping.
const (
	up      = "up"
	standby = "standby"
	dead    = "dead" // anything but up, for a reason, or not there
	gone    = "gone" // not there
	either  = "either"
)

// sight is what everybody's tables should say: up to gone, by the name of a
// reverse proxy or by "server/mapping proxy's address".
type sight map[string]string

// all is how it is when nothing is wrong.
func (in *internet) all() sight {
	s := sight{"rp1": up, "rp2": up, "rp3": up}
	s.set("a1", rp1Addr, up)
	s.set("a1", rp2Addr, standby)
	s.set("a2", rp1Addr, up)
	s.set("b1", rp3Addr, up)
	s.set("b1", rp2Addr, standby)
	s.set("b2", rp3Addr, up)
	return s
}

// set says how all mappings of a server at a proxy should be.
func (s sight) set(server, proxy, state string) {
	for _, name := range []string{ownPort, "web"} {
		s[server+"/"+name+" "+proxy] = state
	}
}

// with is the sight with one server's mappings changed.
func (s sight) with(server, proxy, state string) sight {
	s = maps.Clone(s)
	s.set(server, proxy, state)
	return s
}

// proxy is the sight with one reverse proxy changed.
func (s sight) proxy(name, state string) sight {
	s = maps.Clone(s)
	s[name] = state
	return s
}

// sees says in what the node's tables differ from it. All else must not be up.
func (s sight) sees(n *node) error {
	n.host.lab.t.Helper()
	got := sight{}
	reasons := map[string]string{}
	for _, r := range n.rows() {
		key := r.ServerName + "/" + r.Name + " " + r.Address
		got[key], reasons[key] = r.State, r.Reason
		if r.State == up && r.Standby {
			got[key] = standby
		}
	}
	for _, r := range n.proxyRows() {
		got[r.ServerName], reasons[r.ServerName] = r.State, r.Reason
	}
	var wrong []string
	for key, want := range s {
		is, there := got[key]
		delete(got, key)
		switch {
		case want == either, want == gone && !there, want == dead && is != up && is != standby && (!there || reasons[key] != ""), want == is:
		case !there:
			wrong = append(wrong, fmt.Sprintf("%s is not there, want it %s", key, want))
		default:
			wrong = append(wrong, fmt.Sprintf("%s is %s (%s), want it %s", key, is, reasons[key], want))
		}
	}
	for key, is := range got {
		wrong = append(wrong, fmt.Sprintf("%s is %s, want no such row", key, is))
	}
	if wrong == nil {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("at %s: %s", n.name, strings.Join(wrong, "; "))
}

// proxyRow is one of --view-rps --json.
type proxyRow struct {
	ServerName string   `json:"server_name"`
	Address    string   `json:"address"`
	LatencyMS  *float64 `json:"latency_ms"`
	State      string   `json:"state"`
	Reason     string   `json:"reason"`
}

func (n *node) proxyRows() []proxyRow {
	n.host.lab.t.Helper()
	var table struct {
		Rows []proxyRow `json:"reverse_proxy_servers"`
	}
	n.json(&table, "--view-rps", "--json")
	return table.Rows
}

// awaitTables waits until the tables of all these nodes are as wanted, and says
// how long that took since then, at the first node and at the last.
func (in *internet) awaitTables(what string, since time.Time, limit time.Duration, want sight, at ...*node) {
	in.t.Helper()
	var first, last time.Duration
	left := slices.Clone(at)
	await(in.t, what, limit, func() (err error) {
		left = slices.DeleteFunc(left, func(n *node) bool {
			e := want.sees(n)
			if e != nil {
				err = e
				return false
			}
			last = time.Since(since)
			if len(left) == len(at) && first == 0 {
				first = last
			}
			return true
		})
		return err
	})
	in.t.Logf("%s: the tables of %d nodes say so after %s to %s", what, len(at), seconds(first), seconds(last))
}

// cut makes the switch drop what these addresses say to each other, both ways.
// One address only: all that it says and hears.
func (in *internet) cut(addr string, others ...string) {
	in.t.Helper()
	if others == nil {
		in.wan.must("nft", fmt.Sprintf("add rule bridge lab cuts ip saddr %s drop; add rule bridge lab cuts ip daddr %[1]s drop", addr))
	}
	for _, other := range others {
		in.wan.must("nft", fmt.Sprintf(`add rule bridge lab cuts ip saddr %s ip daddr %s drop
			add rule bridge lab cuts ip saddr %[2]s ip daddr %[1]s drop`, addr, other))
	}
}

// mend ends all cuts.
func (in *internet) mend() { in.wan.must("nft", "flush chain bridge lab cuts") }

// vanish kills a node and its frp. Where its host is cut off before, nobody hears
// a thing, as when its power fails.
func (in *internet) vanish(n *node, frp string) {
	in.t.Helper()
	n.kill()
	n.killFRP(frp)
}
