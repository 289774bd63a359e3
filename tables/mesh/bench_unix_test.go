//go:build unix

package mesh_test

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The figures of a mesh at its usual pace, all members in one process:
//
//	go test -run '^$' -bench . -benchtime 5x ./tables/mesh

var sizes = []int{10, 50}

// calmMesh is a mesh at the usual pace in which nothing is new any more.
func calmMesh(b *testing.B, size int) (*world, []*node) {
	w := newWorld(b)
	w.calm = true
	all := w.build(size, nil)
	w.await("all know all", func() bool {
		for _, n := range all {
			w.mu.Lock()
			known := len(n.vouched)
			w.mu.Unlock()
			if known < size {
				return false
			}
		}
		return true
	})
	return w, all
}

func BenchmarkRecord(b *testing.B) {
	for _, size := range sizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			w, all := calmMesh(b, size)
			var took time.Duration
			for i := 0; b.Loop(); i++ {
				record := fmt.Appendf(nil, "%300d", i)
				from := all[i%size]
				from.Deliver(record)
				start := time.Now()
				from.mesh.Broadcast(record)
				w.await("all know", func() bool { return allKnow(all, record) })
				took = max(took, time.Since(start))
			}
			b.ReportMetric(took.Seconds()*1000, "ms-at-most")
		})
	}
}

// BenchmarkJoin is a new proxy that everyone has as a member.
func BenchmarkJoin(b *testing.B) {
	w, all := calmMesh(b, 20)
	for b.Loop() {
		all = append(all, w.join(nil, all...))
		w.await("everyone has it", func() bool { return complete(all) })
	}
}

// BenchmarkDeath is a proxy that ends without a goodbye, until the last has it
// no more.
func BenchmarkDeath(b *testing.B) {
	w, all := calmMesh(b, 20)
	for b.Loop() {
		dead := all[len(all)-1]
		all = all[:len(all)-1]
		start := time.Now()
		dead.kill()
		w.await("everyone lost it", func() bool { return complete(all) })
		b.Logf("%s", time.Since(start))
	}
}

// BenchmarkIdle is what a member costs while nobody has anything to say.
func BenchmarkIdle(b *testing.B) {
	const long = 2 * time.Minute // four push/pulls of each
	for _, size := range sizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			calmMesh(b, size)
			<-time.After(10 * time.Second) // the joins are over
			for b.Loop() {
				bytes, cpu := sent.Load(), cpuTime(b)
				<-time.After(long)
				n := float64(size) * long.Seconds()
				// Each byte is sent by one and received by another.
				b.ReportMetric(float64(sent.Load()-bytes)/n, "B/s-sent")
				b.ReportMetric(100*(cpuTime(b)-cpu).Seconds()/n, "%cpu")
			}
		})
	}
}

// BenchmarkBeats is what a member costs while each of 50 says every 10 s that it
// is there.
func BenchmarkBeats(b *testing.B) {
	const size, long, every = 50, time.Minute, 10 * time.Second
	_, all := calmMesh(b, size)
	<-time.After(10 * time.Second)
	for b.Loop() {
		bytes, cpu, heard := sent.Load(), cpuTime(b), 0
		for i := range int(long/every) * size {
			<-time.After(every / size)
			record := fmt.Appendf(nil, "%250d", -i)
			from := all[i%size]
			from.Deliver(record)
			from.mesh.Beat(record)
		}
		cpu, bytes = cpuTime(b)-cpu, sent.Load()-bytes
		<-time.After(2 * time.Second)
		for i := range int(long/every) * size {
			for _, n := range all {
				if n.knows(fmt.Appendf(nil, "%250d", -i)) {
					heard++
				}
			}
		}
		n := size * long.Seconds()
		b.ReportMetric(float64(bytes)/n, "B/s-sent")
		b.ReportMetric(100*cpu.Seconds()/n, "%cpu")
		b.ReportMetric(100*float64(heard)/(size*size*long.Seconds()/every.Seconds()), "%heard")
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
