package frpconf_test

import (
	"fmt"
	"net/netip"
	"testing"

	"p2prc/frpconf"
)

// A new mapping on a node with ten thousand rewrites the whole file.
func BenchmarkClient_tenThousand(b *testing.B) {
	c := exampleClient
	c.Proxies = nil
	for i := range 10_000 {
		c.Proxies = append(c.Proxies, frpconf.Proxy{
			Name: frpconf.ProxyName("nons2qailp3gvxd4taui6kdjuzezfeyb", fmt.Sprintf("tcp-%d", i)), Type: "tcp",
			Local: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(10000+i)), RemotePort: uint16(20000 + i),
			Metadatas: map[string]string{"p2prc-lease": "abcdefghijklmnopqrstuvwxyz"},
		})
	}
	b.Run("fingerprint", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := c.Fingerprint(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
