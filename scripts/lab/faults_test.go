//go:build linux

package lab

// The faults of the network. Each holds until heal or its own end is called.

// blackHole makes the router drop everything, both ways, established
// connections included. Nobody gets a reset.
func (l *lab) blackHole() { l.nat.must("nft", "add rule ip lab faults drop") }

// lossOut makes the router lose a third of what leaves the LAN.
func (l *lab) lossOut() {
	l.nat.must("nft", "add rule ip lab faults iifname in0 numgen random mod 100 < 30 drop")
}

// loss makes the router lose a third of all packets, so half of all round trips.
func (l *lab) loss() { l.nat.must("nft", "add rule ip lab faults numgen random mod 100 < 30 drop") }

// heal ends what the router does wrong.
func (l *lab) heal() { l.nat.must("nft", "flush chain ip lab faults") }

// firewall closes the pool of the public host to the outside, as a cloud's
// security group does: the host itself still gets through, over loopback.
func (l *lab) firewall() {
	l.pub.must("nft", "add rule ip lab input iifname eth0 tcp dport 20000-29999 drop; add rule ip lab input iifname eth0 udp dport 20000-29999 drop")
}

// noFirewall opens the pool.
func (l *lab) noFirewall() { l.pub.must("nft", "flush chain ip lab input") }

// moveRouter gives the router another public address. The kernel forgets the
// translations of the old one, so what is under way comes from a stranger.
func (l *lab) moveRouter(addr string) {
	l.nat.must("ip", "addr", "del", natAddr+"/24", "dev", "eth0")
	l.nat.must("ip", "addr", "add", addr+"/24", "dev", "eth0")
}

// unplug takes the LAN host's address away: nothing it says leaves it, not
// even a reset.
func (l *lab) unplug() { l.lan.must("ip", "addr", "flush", "dev", "eth0") }

// plugIn gives the LAN host this address.
func (l *lab) plugIn(addr string) {
	l.lan.must("ip", "addr", "add", addr+"/24", "dev", "eth0")
	l.lan.must("ip", "route", "add", "default", "via", "10.1.0.1")
}
