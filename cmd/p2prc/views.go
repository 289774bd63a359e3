package main

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"p2prc/tables"
)

// view is one of the two lists a user can ask for.
type view[T comparable] struct {
	key     string // of the rows in --json
	none    string // what is said when there is no row
	read    func(dir string, now time.Time) (tables.View[T], error)
	follow  func(dir string) *tables.Watch[T]
	order   func(a, b T) int // nil: as in the table
	columns string
	cells   func(row T, now time.Time) []string // one per column
	more    string                              // columns of --output wide
	further func(row T) []string                // their cells
	state   func(T) tables.State                // as it is shown
	name    func(T) string
	id      func(T) any
	essence func(T) T // the row without what every proof changes
}

var mappingView = view[tables.Mapping]{
	key:     "reverse_proxy_mappings",
	none:    "no mappings are known in %s",
	read:    tables.ReadMappings,
	follow:  tables.WatchMappings,
	columns: "ADDRESS TYPE NAME SERVER LOCAL STATE AGE REASON",
	cells: func(m tables.Mapping, now time.Time) []string {
		address, local := "-", "-"
		if m.BindPort != 0 {
			address = m.Dial()
		}
		if m.LocalAddress.IsValid() {
			local = m.LocalAddress.String()
		}
		return []string{address, string(m.Type), m.Name, m.ServerName, local, string(shownState(m)), age(m.VerifiedAt, now), m.Reason}
	},
	more: "NODE PROXY PROVED-BY LEASE-UNTIL",
	further: func(m tables.Mapping) []string {
		return []string{m.NodeID.Short(), m.ProxyID.Short(), m.ProvedBy, stamp(m.LeaseUntil)}
	},
	state: shownState,
	name:  func(m tables.Mapping) string { return m.Name },
	id:    func(m tables.Mapping) any { return m.Key() },
	essence: func(m tables.Mapping) tables.Mapping {
		m.VerifiedAt, m.LeaseUntil = time.Time{}, time.Time{}
		return m
	},
}

var proxyView = view[tables.ReverseProxy]{
	key:     "reverse_proxy_servers",
	none:    "no reverse proxies are known in %s",
	read:    tables.ReadProxies,
	follow:  tables.WatchProxies,
	order:   nearestFirst,
	columns: "NAME ADDRESS LATENCY STATE PORTS FREE LOAD ADMISSION FRP AGE REASON",
	cells: func(r tables.ReverseProxy, now time.Time) []string {
		latency := "-"
		if r.LatencyMS != nil {
			latency = milliseconds(*r.LatencyMS, "ms")
		}
		return []string{
			r.ServerName, fmt.Sprintf("%s:%d", r.Address, r.NodePort), latency, string(r.State), r.Ports.String(),
			strconv.Itoa(r.PortsFree), strconv.Itoa(r.Load), string(r.Admission), r.FRPVersion, age(r.VerifiedAt, now), r.Reason,
		}
	},
	more: "NODE FRP-PORT PROVED-AT HTTP-PORT HTTPS-PORT",
	further: func(r tables.ReverseProxy) []string {
		return []string{r.NodeID.Short(), strconv.Itoa(int(r.FRPPort)), stamp(r.VerifiedAt), orNone(r.HTTPPort), orNone(r.HTTPSPort)}
	},
	state: func(r tables.ReverseProxy) tables.State { return r.State },
	name:  func(r tables.ReverseProxy) string { return r.ServerName },
	id:    func(r tables.ReverseProxy) any { return r.NodeID },
	essence: func(r tables.ReverseProxy) tables.ReverseProxy {
		r.VerifiedAt, r.LatencyMS = time.Time{}, nil
		return r
	},
}

var serverView = view[tables.Server]{
	key:     "ip_address",
	none:    "no servers are known in %s",
	read:    tables.ReadServers,
	columns: "NAME ADDRESS LATENCY NAT BY STATE",
	cells: func(s tables.Server, _ time.Time) []string {
		latency, nat := "-", "no"
		if s.Latency > 0 {
			latency = milliseconds(float64(s.Latency.Microseconds())/1000, "ms")
		}
		if s.NAT {
			nat = "yes"
		}
		return []string{s.Name, s.Addr(), latency, nat, s.EscapeImplementation, string(s.State)}
	},
	more:    "NODE",
	further: func(s tables.Server) []string { return []string{s.NodeID.Short()} },
	state:   func(s tables.Server) tables.State { return s.State },
	name:    func(s tables.Server) string { return s.Name },
	id:      func(s tables.Server) any { return s.NodeID },
}

// nearestFirst sorts by latency as measured from here, unmeasured ones last.
func nearestFirst(a, b tables.ReverseProxy) int {
	switch {
	case a.LatencyMS == nil && b.LatencyMS == nil:
		return cmp.Compare(a.ServerName, b.ServerName)
	case a.LatencyMS == nil:
		return 1
	case b.LatencyMS == nil:
		return -1
	}
	return cmp.Or(cmp.Compare(*a.LatencyMS, *b.LatencyMS), cmp.Compare(a.ServerName, b.ServerName))
}

// orNone is a port, if there is one.
func orNone(port uint16) string {
	if port == 0 {
		return "-"
	}
	return strconv.Itoa(int(port))
}

// standby is what the lists call a mapping that is up and stands by for another.
const standby tables.State = "standby"

// shownState is the state of a mapping, or that it stands by.
func shownState(m tables.Mapping) tables.State {
	if m.State == tables.Up && m.Standby {
		return standby
	}
	return m.State
}

// age is how long ago t was, in the largest unit that fits.
func age(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := max(now.Sub(t), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// stamp is t in one word.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
