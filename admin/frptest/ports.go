package frptest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// Ports come from below the ephemeral range of Linux, macOS and Windows, where
// no outgoing connection can take them, and from below p2prc's default pool.
// Each test process claims whole blocks by holding the first port of each, so
// that packages tested at the same time never get the same one.
const (
	firstPort = 10000
	lastPort  = 19999
	blockSize = 50
)

var ports struct {
	mu      sync.Mutex     // guards what follows
	claims  []net.Listener // held until the process ends
	next    uint16
	blockTo uint16 // exclusive end of the claimed block
}

// Port is a port that is free for TCP and UDP on every address, and that no
// other test is given.
func Port(t testing.TB) uint16 {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range lastPort - firstPort {
		if ports.next == ports.blockTo && !claimBlock() {
			break
		}
		port := ports.next
		ports.next++
		if free(port) {
			return port
		}
	}
	t.Fatalf("no free port from %d to %d", firstPort, lastPort)
	return 0
}

// claimBlock takes the next block; ports.mu is held.
func claimBlock() bool {
	const blocks = (lastPort - firstPort + 1) / blockSize
	start := rand.IntN(blocks)
	for i := range blocks {
		first := uint16(firstPort + (start+i)%blocks*blockSize)
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(loopback(first)))
		if err != nil {
			continue
		}
		ports.claims = append(ports.claims, l)
		ports.next, ports.blockTo = first+1, first+blockSize
		return true
	}
	return false
}

func free(port uint16) bool {
	everywhere := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(everywhere))
	if err != nil {
		return false
	}
	defer l.Close()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(everywhere))
	if err != nil {
		return false
	}
	return c.Close() == nil
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}
