package supervisor

import (
	"time"

	"p2prc/tables"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
)

// Names of the node's own mappings; --map may not take them.
const (
	ownName    = "p2prc"     // the node's own port, the canary of the TCP tunnel
	ownUDPName = "p2prc-udp" // the canary of the UDP tunnel, only where a UDP port is mapped

	ownHTTPName  = "p2prc-http"  // the canary of the HTTP port, only where a domain is mapped
	ownHTTPSName = "p2prc-https" // the same of the HTTPS port
)

// isOwn reports whether a mapping of that name is the node's own.
func isOwn(name string) bool {
	return name == ownName || name == ownUDPName || name == ownHTTPName || name == ownHTTPSName
}

// mapping is what the server knows of one of its mappings, step by step as in
// "From request to row". The pass owns it.
type mapping struct {
	Map
	node bool // the node's own port
	live bool // of p2prc map or mappings.toml

	lease   *held
	another bool   // the reserved port was stolen: ask for a different one
	try     int    // changed to make frpc retry at once
	retry   bool   // frps refused it, and may not a second time
	refused string // why the proxy gave no lease
	blame   Kind   // of refused
	full    bool   // the next report names it, changed or not
	posted  *post  // as last put on the board
	traffic Traffic

	ghostSince time.Time // frps says that the port is used, by whom is not known

	port    verdict // (a) somebody outside dialled the port
	frp     verdict // frpc's status says running
	online  verdict // (c) frps lists it under an admitted lease
	service verdict // (d) something listens at the local address

	row      tables.Mapping // as last put into the table
	reported peerapi.Row    // as last told to the proxy
	wasUp    bool           // a row that worked before is down, not waiting

	claim     *record.Claim // what others are told; nil: nothing yet
	downSince time.Time     // zero: it is up
}

// held is a lease and what the server learnt with it.
type held struct {
	peerapi.Lease
	until  deadline
	signed time.Time // when the proxy signed it
}

// verdict is the outcome of one step of the proof: not asked yet, yes, or why not.
type verdict struct {
	ok     bool
	reason string // why not; empty while it was not asked
	kind   Kind   // the failure this is, should p2prc end over it
	by     string // who proved it
	at     time.Time
}

func yes(by string, at time.Time) verdict { return verdict{ok: true, by: by, at: at} }

func no(kind Kind, reason string) verdict { return verdict{kind: kind, reason: reason} }

// holds reports whether the lease is live by this node's own count.
func (m *mapping) holds(now time.Time) bool { return m.lease != nil && !m.lease.until.passed(now) }

// resign is how old a signed lease gets: others believe it for 24 h.
const resign = 12 * time.Hour

// needsLease reports whether the mapping has to be reserved: it has no lease, or
// one whose signature will soon convince nobody.
func (m *mapping) needsLease(now time.Time) bool {
	return !m.holds(now) || now.Sub(m.lease.signed) > resign
}

// dropLease forgets the lease and all that was proved under it.
func (m *mapping) dropLease() {
	m.lease = nil
	m.port, m.frp, m.online = verdict{}, verdict{}, verdict{}
}

// judge sums the steps up into what the row says. tunnel is (b), the canary's
// verdict on this mapping's protocol; link is why the reverse proxy cannot be
// asked, empty when it can.
func (m *mapping) judge(now time.Time, tunnel verdict, link string) (tables.State, verdict) {
	bad := tables.Waiting
	if m.wasUp {
		bad = tables.Down
	}
	if !m.holds(now) {
		switch {
		case m.refused != "":
			return tables.Waiting, no(m.blame, m.refused)
		case link != "":
			return bad, no(ProxyUnreachable, link)
		}
		return tables.Waiting, no(NoPort, "no lease yet")
	}
	if !m.port.ok {
		return tables.Waiting, m.port.or(NotReachable, "not yet dialled from outside")
	}
	if !m.frp.ok {
		if link != "" { // frpc's session goes with the reverse proxy
			return bad, no(ProxyUnreachable, link)
		}
		return bad, m.frp.or(ChildDying, "frpc has not opened it yet")
	}
	if !tunnel.ok {
		return bad, tunnel.or(NotReachable, "the tunnel is not yet proved")
	}
	if !m.service.ok {
		return tables.Waiting, m.service.or(TimedOut, "the local service was not looked for yet")
	}
	if !m.online.ok {
		return bad, m.online.or(NotReachable, "the reverse proxy has not confirmed it yet")
	}
	return tables.Up, m.port
}

// or fills in what a step says that was not asked yet.
func (v verdict) or(kind Kind, reason string) verdict {
	if v.reason == "" {
		return no(kind, reason)
	}
	return v
}
