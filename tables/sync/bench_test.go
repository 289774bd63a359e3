package sync_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"p2prc/tables/record"
)

// A client that knows nothing gets everything from one node, over loopback.
func BenchmarkReconcile_coldStart(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			gate := newNode(b, nil)
			full := record.New(record.Options{Verify: func(*record.Record) error { return nil }})
			full.Trust(gate.id, true)
			gates := []*node{gate}
			for left := n; left > 0; left -= 500 {
				if len(gates)*10_000 <= n-left {
					gates = append(gates, newNode(b, nil))
					full.Trust(gates[len(gates)-1].id, true)
				}
				home := newNode(b, nil)
				home.say(b, home.claims(b, gates[len(gates)-1], 500)...)
				if m := full.Merge(time.Now(), "", raws(home.set)...); len(m.Rejected) > 0 {
					b.Fatal(m.Rejected[0].Err)
				}
			}
			bytes := 0
			for _, r := range raws(full) {
				bytes += len(r)
			}
			for b.Loop() {
				server := newNodeWith(b, full)
				client := newNodeOf(b, record.Options{}, nil)
				for _, g := range gates {
					client.set.Trust(g.id, true)
				}
				dialled, accepted := pair(b)
				serving := run(b, func(ctx context.Context) error { return server.sync.Serve(ctx, client.id, accepted) })
				if err := client.sync.Reconcile(b.Context(), server.id, dialled); err != nil {
					b.Fatal(err)
				}
				if err := serving.end(b); err != nil || client.set.Len() != n {
					b.Fatalf("%d records, %v", client.set.Len(), err)
				}
			}
			b.ReportMetric(float64(bytes)/float64(n), "B/record")
		})
	}
}
