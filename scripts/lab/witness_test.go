//go:build linux

package lab

import (
	"fmt"
	"testing"
	"time"
)

// TestDiscovery_witness: the router of a2 lets nobody out to the pool, only to
// the ports of p2prc and frp. Another reverse proxy dials for it, so its rows are
// up; and when the pool is closed to everybody they are not.
func TestDiscovery_witness(t *testing.T) {
	t.Parallel()
	in := newInternet(t)
	in.a2.stop()
	in.na.must("nft", "add rule ip lab faults tcp dport 20000-29999 drop")
	in.na.must("nft", "add rule ip lab faults udp dport 20000-29999 drop")
	started := time.Now()
	in.a2.run(nil)
	in.awaitTables("a2 cannot dial the pool", started, upLimit, in.all(), in.a2, in.rp1, in.b1)
	byOther := func() error {
		for _, name := range []string{ownPort, "web"} {
			row, ok := in.a2.row("a2", name)
			if !ok || row.State != up || row.ProvedBy != "rp2" && row.ProvedBy != "rp3" {
				return fmt.Errorf("%s, proved by %q", row, row.ProvedBy)
			}
		}
		return nil
	}
	// The canary comes every 5 s: it has to be carried as well.
	holds(t, "proved by another proxy", 12*time.Second, byOther)

	in.sub("the pool is closed to all", func(*testing.T) {
		closed := time.Now()
		in.rp1.host.must("nft", "add table ip lab; add chain ip lab in { type filter hook input priority 0; }")
		in.rp1.host.must("nft", "add rule ip lab in tcp dport 20000-29999 drop")
		in.awaitTables("nobody can dial the pool", closed, deadLimit, in.all().with("a2", rp1Addr, dead).with("a1", rp1Addr, dead).with("a1", rp2Addr, up), in.a2)
		in.rp1.host.must("nft", "flush chain ip lab in")
		in.awaitTables("and again everybody", time.Now(), upLimit, in.all().with("a1", rp1Addr, either).with("a1", rp2Addr, either), in.a2)
	})
}
