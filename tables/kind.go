package tables

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"p2prc/tables/identity"
)

// kind is one sort of row: where it is kept, what identifies it, what it may
// hold and what a measurement may change in it.
type kind[K comparable, R any] struct {
	file, member string // the snapshot and the array in it; empty if it has none
	put, drop    string // its changes in the journal
	key          func(R) K
	compare      func(a, b K) int
	fast         func([]byte) (R, bool)             // decodes the usual layout; may be nil
	check        func(R) (R, error)                 // the row as it is stored, which reads back equal
	note         func(stored, measured R) (R, bool) // false: it was measured on something else
	proof        func(*R) proof
	dialled      func(R) bool // whether the row is in ip_table.json; nil: none is
}

// proof is the part of a row that says whether it can be used right now.
type proof struct {
	state      *State
	reason     *string
	verifiedAt time.Time
	leaseUntil time.Time // zero: no lease is involved
	learned    bool
}

// withdraw makes a row that is up wait: nothing proves it any more.
func (p proof) withdraw(reason string) {
	if *p.state == Up {
		*p.state, *p.reason = Waiting, reason
	}
}

var mappingKind = &kind[MappingKey, Mapping]{
	file: "reverse_proxy_mapping.json", member: "reverse_proxy_mappings",
	put: "mapping", drop: "drop-mapping",
	key: Mapping.Key,
	compare: func(a, b MappingKey) int {
		return cmp.Or(cmp.Compare(a.ProxyID, b.ProxyID), cmp.Compare(a.NodeID, b.NodeID), cmp.Compare(a.Name, b.Name))
	},
	fast:  fastMapping,
	check: checkMapping,
	note: func(m, measured Mapping) (Mapping, bool) {
		if m.LeaseID != measured.LeaseID || m.Public() != measured.Public() || m.Type != measured.Type || m.Domain != measured.Domain {
			return m, false
		}
		m.State, m.Reason, m.VerifiedAt = measured.State, measured.Reason, measured.VerifiedAt
		m.ProvedBy, m.LeaseUntil, m.Standby = measured.ProvedBy, measured.LeaseUntil, measured.Standby
		return m, true
	},
	proof:   func(m *Mapping) proof { return proof{&m.State, &m.Reason, m.VerifiedAt, m.LeaseUntil, m.Learned} },
	dialled: func(m Mapping) bool { return m.Node },
}

var proxyKind = &kind[identity.ID, ReverseProxy]{
	file: "reverse_proxy_server.json", member: "reverse_proxy_servers",
	put: "proxy", drop: "drop-proxy",
	key:     func(p ReverseProxy) identity.ID { return p.NodeID },
	compare: cmp.Compare[identity.ID],
	check:   checkProxy,
	note: func(p, measured ReverseProxy) (ReverseProxy, bool) {
		if p.Address != measured.Address || p.NodePort != measured.NodePort || p.FRPPort != measured.FRPPort {
			return p, false
		}
		p.State, p.Reason, p.VerifiedAt = measured.State, measured.Reason, measured.VerifiedAt
		p.LatencyMS, p.PortsFree, p.Load = measured.LatencyMS, measured.PortsFree, measured.Load
		return p, true
	},
	proof:   func(p *ReverseProxy) proof { return proof{&p.State, &p.Reason, p.VerifiedAt, time.Time{}, p.Learned} },
	dialled: func(ReverseProxy) bool { return true },
}

var reservationKind = &kind[ReservationKey, Reservation]{
	put: "reservation", drop: "drop-reservation",
	key: Reservation.Key,
	compare: func(a, b ReservationKey) int {
		return cmp.Or(cmp.Compare(a.NodeID, b.NodeID), cmp.Compare(a.Name, b.Name))
	},
	check: checkReservation,
	note: func(r, measured Reservation) (Reservation, bool) {
		if r.Port != measured.Port || r.Type != measured.Type || r.Domain != measured.Domain {
			return r, false
		}
		r.PortProvedAt = measured.PortProvedAt
		return r, true
	},
}

var wantedKind = &kind[string, Wanted]{
	put: "wanted", drop: "drop-wanted",
	key:     func(w Wanted) string { return w.Name },
	compare: cmp.Compare[string],
	check:   checkWanted,
}

func checkMapping(m Mapping) (Mapping, error) {
	err := checks(CheckName(m.Name), checkProtocol(m.Type, m.Domain), checkState(m.State),
		checkKey(string(m.NodeID), string(m.ProxyID), m.LeaseID),
		stamp(&m.VerifiedAt), stamp(&m.LeaseUntil))
	if err == nil && m.State == Up && (!m.Address.IsValid() || m.BindPort == 0) {
		err = fmt.Errorf("a mapping cannot be up without an address and a port")
	}
	if err != nil {
		return m, fmt.Errorf("mapping %q: %w", m.Name, err)
	}
	if !m.LocalAddress.Addr().IsValid() {
		m.LocalAddress = zeroOf(m.LocalAddress)
	}
	m.ServerName, m.ProvedBy = text(m.ServerName, MaxName), text(m.ProvedBy, maxKey)
	m.Reason = reason(m.State, m.Reason)
	return m, nil
}

func checkProxy(p ReverseProxy) (ReverseProxy, error) {
	err := checks(checkState(p.State), checkKey(string(p.NodeID), string(p.Admission)), stamp(&p.VerifiedAt))
	if err == nil && p.Ports != (PortRange{}) && (p.Ports.First == 0 || p.Ports.Last < p.Ports.First) {
		err = fmt.Errorf("%s is not a range of ports", p.Ports)
	}
	if err == nil && p.State == Up && !p.Address.IsValid() {
		err = fmt.Errorf("a reverse proxy cannot be up without an address")
	}
	if err != nil {
		return p, fmt.Errorf("reverse proxy %q: %w", p.NodeID.Short(), err)
	}
	if p.LatencyMS != nil {
		ms := *p.LatencyMS // the caller keeps its own
		p.LatencyMS = &ms
		if math.IsNaN(ms) || math.IsInf(ms, 0) || ms < 0 {
			p.LatencyMS = nil
		}
	}
	p.ServerName, p.FRPVersion = text(p.ServerName, MaxName), text(p.FRPVersion, maxKey)
	p.Reason = reason(p.State, p.Reason)
	return p, nil
}

func checkReservation(r Reservation) (Reservation, error) {
	err := checks(CheckName(r.Name), checkProtocol(r.Type, r.Domain), checkKey(string(r.NodeID), r.LeaseID),
		stamp(&r.LeaseUntil), stamp(&r.UsedAt), stamp(&r.PortProvedAt))
	if err == nil && r.Port == 0 {
		err = fmt.Errorf("a reservation needs a port")
	}
	if err != nil {
		return r, fmt.Errorf("reservation %q: %w", r.Name, err)
	}
	return r, nil
}

func checkWanted(w Wanted) (Wanted, error) {
	err := checks(CheckName(w.Name), checkProtocol(w.Type, w.Domain))
	if err == nil && (!w.Local.Addr().Is4() || w.Local.Port() == 0) {
		err = fmt.Errorf("%s is not the IPv4 address and port of a service", w.Local)
	}
	if err != nil {
		return w, fmt.Errorf("wanted mapping %q: %w", w.Name, err)
	}
	return w, nil
}

func checks(errs ...error) error { return cmp.Or(errs...) }

func zeroOf[T any](T) (zero T) { return zero }

func checkProtocol(p Protocol, domain string) error {
	if !p.Known() {
		return fmt.Errorf("%q is not a protocol", p)
	}
	return CheckDomainOf(p, domain)
}

func checkState(s State) error {
	if s != Up && s != Down && s != Waiting {
		return fmt.Errorf("%q is not a state", s)
	}
	return nil
}

// maxKey bounds the parts of a row that identify something, maxReason why it is
// not up, in bytes: a row is then under 1 KiB, and maxRows of them are a table
// that a view still reads.
const (
	maxKey    = 64
	maxReason = 240
)

// checkKey refuses what would not read back as it was written.
func checkKey(parts ...string) error {
	for _, s := range parts {
		if len(s) > maxKey || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			return fmt.Errorf("%.80q cannot identify anything: want at most %d printable bytes", s, maxKey)
		}
	}
	return nil
}

// text is s as it may stand in a table: errors and names of foreign machines
// come through here, and end up on terminals.
func text(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	cut := limit - len("...")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// reason is why a row is not up.
func reason(s State, why string) string {
	if s == Up {
		return ""
	}
	return text(why, maxReason)
}

// stamp brings a time into the form in which it reads back: UTC, no monotonic
// clock, a year that RFC 3339 can spell.
func stamp(t *time.Time) error {
	if t.IsZero() {
		*t = time.Time{}
		return nil
	}
	*t = t.Round(0).UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return fmt.Errorf("the year %d has no place in a table", y)
	}
	return nil
}
