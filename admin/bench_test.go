package admin_test

import (
	"testing"

	"p2prc/admin/frptest"
	"p2prc/frpconf"
)

// What p2prc waits for when it starts: each frp, from exec to ready, with the
// configuration that p2prc gives it.

func BenchmarkFRPS_start(b *testing.B) {
	for _, version := range frptest.Versions {
		b.Run(version, func(b *testing.B) {
			rp := newReverseProxy(b, version)
			spec := rp.spec()
			for b.Loop() {
				b.StopTimer()
				rp.proc.Kill()
				b.StartTimer()
				rp.proc = frptest.Run(b, spec)
				if _, err := rp.WaitReady(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFRPC_start(b *testing.B) {
	for _, version := range frptest.Versions {
		b.Run(version, func(b *testing.B) {
			port := frptest.Port(b)
			rp := newReverseProxy(b, version, func(s *frpconf.Server) { s.Allow = only(port) })
			proxy := tcp("node.web", echo(b), port)
			for b.Loop() {
				s := rp.newServer(proxy)
				s.verdict()
				b.StopTimer()
				if err := s.Stop(b.Context()); err != nil {
					b.Fatal(err)
				}
				s.proc.ExitCode()
				s.Close()
				b.StartTimer()
			}
		})
	}
}
