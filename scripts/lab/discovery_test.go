//go:build linux

package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	// deadLimit bounds how long anybody may take to learn of a node that vanished.
	deadLimit = lieLimit
	// goneLimit bounds how long a node that said no goodbye stays in the tables.
	goneLimit = time.Minute + busy
	// byeLimit bounds how long a goodbye takes.
	byeLimit = 2*time.Second + busy
	// meetLimit bounds how long two parts of the mesh take to find each other
	// again: the pause between two tries grows while they are apart.
	meetLimit = 60 * time.Second
)

// TestDiscovery_deaths: whoever vanishes is dead in everybody's tables soon, and
// gone after that; whoever says goodbye is gone at once; who has a second
// reverse proxy goes on by that.
func TestDiscovery_deaths(t *testing.T) {
	t.Parallel()
	in := newInternet(t)
	in.watchOver(in.ext, in.nodes()...)
	want := in.all()
	ports := map[string]uint16{}
	for _, r := range in.rp2.rows() {
		ports[r.ServerName+"/"+r.Name+" "+r.Address] = r.BindPort
	}
	userReads := func() {
		in.t.Helper()
		asked := time.Now()
		in.client.askOnHost("--update-server-list")
		in.awaitTables("--update-server-list", asked, 0, want, in.client)
	}

	in.sub("list of servers", func(t *testing.T) {
		list := in.client.ask("--ls")
		for _, n := range in.nodes() {
			if !strings.Contains(list, n.name+" ") {
				t.Error(missing{n.name, list})
			}
		}
		for _, r := range in.client.rows() {
			if out, err := in.ext.run("curl", "-sS", "--max-time", "2", "http://"+r.at()+"/"); r.Name == "web" && (err != nil || out != hello) {
				t.Errorf("%v: %v %q", r, err, out)
			}
		}
	})
	in.sub("a reverse proxy vanishes", func(t *testing.T) {
		user := in.ext.startHelper("try", atPort(rp1Addr, ports["a1/web "+rp1Addr]), atPort(rp2Addr, ports["a1/web "+rp2Addr]))
		await(t, "a client is served by the first address", upLimit, func() error { return answeredBy(user, "1") })
		vanished := time.Now()
		in.cut(rp1Addr)
		in.vanish(in.rp1, "frps")
		want = want.proxy("rp1", dead).with("a1", rp1Addr, dead).with("a2", rp1Addr, dead)
		await(t, "a1 knows", deadLimit, func() error { return in.a1.goesBy(rp1Addr, false) })
		proved := time.Since(vanished)
		await(t, "a1 goes by the other", deadLimit, func() error { return in.a1.goesBy(rp2Addr, true) })
		t.Logf("at a1: down by proof after %s, up by the other proxy after %s", seconds(proved), seconds(time.Since(vanished)))
		want.set("a1", rp2Addr, up)
		in.awaitTables("rp1 vanished", vanished, deadLimit, want, in.rp2, in.rp3, in.a1, in.a2, in.b1, in.b2)
		userReads()
		user.signal(15)
		user.endsWithin(stopLimit)
		out := user.stdout()
		t.Logf("a client that tries both addresses: %d requests, %d by the first, %d by the second, %d lost",
			len(out), strings.Count(out, "1"), strings.Count(out, "2"), strings.Count(out, "0"))
		if strings.Contains(out, "0") || !strings.HasSuffix(out, "2") {
			t.Errorf("served by %s", out)
		}
	})
	in.sub("it comes back", func(t *testing.T) {
		in.mend()
		back := time.Now()
		in.rp1.run(nil)
		want = in.all().with("a1", rp1Addr, standby).with("a1", rp2Addr, up)
		in.awaitTables("rp1 came back", back, meetLimit, want, in.nodes()...)
		userReads()
		for _, r := range in.a1.rows() {
			if want := ports[r.ServerName+"/"+r.Name+" "+r.Address]; r.BindPort != want {
				t.Errorf("%v, had port %d", r, want)
			}
		}
	})
	in.sub("a server vanishes", func(*testing.T) {
		vanished := time.Now()
		in.b2.host.must("ip", "addr", "flush", "dev", "eth0") // nothing it says leaves it
		in.vanish(in.b2, "frpc")
		want = want.with("b2", rp3Addr, dead)
		in.awaitTables("b2 vanished", vanished, deadLimit, want, in.rp1, in.rp2, in.rp3, in.a1, in.a2, in.b1)
		want = in.all().with("b2", rp3Addr, gone) // a1 is back at its first proxy by then
		in.awaitTables("b2 is gone, a1 is back at rp1", vanished, goneLimit, want, in.rp1, in.rp2, in.a1, in.a2, in.b1)
		userReads()
	})
	in.sub("goodbyes", func(*testing.T) {
		left := time.Now()
		in.a2.stop()
		want = want.with("a2", rp1Addr, gone)
		in.awaitTables("a2 said goodbye", left, byeLimit, want, in.rp1, in.rp2, in.a1, in.b1)
		// What rp3 lent to b2 stays b2's: it keeps the row, and says why it is down.
		in.awaitTables("a2 said goodbye", left, byeLimit, want.with("b2", rp3Addr, dead), in.rp3)
		left = time.Now()
		in.rp3.stop()
		want = want.proxy("rp3", gone).with("b1", rp3Addr, gone).with("b1", rp2Addr, up)
		in.awaitTables("rp3 said goodbye", left, byeLimit, want, in.rp1, in.rp2, in.a1)
		userReads()
	})
}

// TestDiscovery_partitions: parts that were cut off from each other agree again
// when they meet, whatever happened in both.
func TestDiscovery_partitions(t *testing.T) {
	t.Parallel()
	in := newInternet(t)
	in.watchOver(in.na, in.rp1, in.a1, in.a2)
	in.watchOver(in.ext, in.rp2, in.rp3, in.b1, in.b2)
	want := in.all()

	in.sub("two reverse proxies cut off from each other", func(t *testing.T) {
		in.cut(rp1Addr, rp2Addr)
		others := []*node{in.rp3, in.a1, in.a2, in.b1, in.b2}
		holds(t, "to all others all is well", 20*time.Second, func() error {
			for _, n := range others {
				if err := want.sees(n); err != nil {
					return err
				}
			}
			return nil
		})
		left := time.Now()
		in.b2.stop()
		want = want.with("b2", rp3Addr, gone)
		in.awaitTables("b2 said goodbye, others", left, byeLimit, want, in.rp3, in.a1, in.a2, in.b1)
		// What the two say of each other is what they find themselves.
		in.awaitTables("b2 said goodbye, rp1", left, byeLimit,
			want.proxy("rp2", either).with("a1", rp2Addr, either).with("b1", rp2Addr, either), in.rp1)
		in.awaitTables("b2 said goodbye, rp2", left, byeLimit,
			want.proxy("rp1", either).with("a1", rp1Addr, either).with("a2", rp1Addr, either), in.rp2)
		mended := time.Now()
		in.mend()
		in.b2.run(nil)
		want = in.all()
		in.awaitTables("mended, and b2 is back", mended, meetLimit, want, in.nodes()...)
	})
	in.sub("two halves", func(*testing.T) {
		apart := time.Now()
		for _, a := range []string{rp1Addr, naAddr} {
			in.cut(a, rp2Addr, rp3Addr, "11.0.0.22", "11.0.0.77")
		}
		left, right := []*node{in.rp1, in.a1, in.a2}, []*node{in.rp2, in.rp3, in.b1, in.b2}
		one := want.with("a1", rp2Addr, dead).with("b1", rp2Addr, dead).with("b1", rp3Addr, dead).
			with("b2", rp3Addr, dead).proxy("rp2", dead).proxy("rp3", dead)
		other := want.with("a1", rp1Addr, dead).with("a2", rp1Addr, dead).with("a1", rp2Addr, dead).proxy("rp1", dead)
		in.awaitTables("cut in two, left", apart, deadLimit, one, left...)
		in.awaitTables("cut in two, right", apart, deadLimit, other, right...)
		in.b2.stop()
		in.a2.stop()
		in.awaitTables("a2 left, left", time.Now(), byeLimit, one.with("a2", rp1Addr, gone), in.rp1, in.a1)
		in.awaitTables("b2 left, right", time.Now(), byeLimit, other.with("b2", rp3Addr, gone), in.rp2, in.rp3, in.b1)
		in.a2.run(nil)
		in.awaitTables("a2 is back, left", time.Now(), upLimit, one, left...)

		mended := time.Now()
		in.mend()
		want = want.with("b2", rp3Addr, gone)
		in.awaitTables("mended", mended, meetLimit, want, in.rp1, in.rp2, in.rp3, in.a1, in.a2, in.b1)
	})
}

func atPort(addr string, port uint16) string { return fmt.Sprintf("%s:%d", addr, port) }

// answeredBy says whether a client was served by this address last.
func answeredBy(user *process, which string) error {
	if out := user.stdout(); !strings.HasSuffix(out, which) {
		return fmt.Errorf("served by %q", out)
	}
	return nil
}

// goesBy says whether it is so that the server's web service is up at this proxy.
func (n *node) goesBy(proxy string, want bool) error {
	for _, r := range n.rows() {
		if r.ServerName == n.name && r.Name == "web" && r.Address == proxy {
			if active := r.State == up && !r.Standby; active != want {
				return fmt.Errorf("%v, standby: %t", r, r.Standby)
			}
			return nil
		}
	}
	return fmt.Errorf("%s has no row at %s", n.name, proxy)
}
