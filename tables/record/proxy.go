package record

import (
	"fmt"
	"net/netip"
	"strconv"

	"p2prc/tables"
)

// Proxy is how a reverse proxy describes itself.
type Proxy struct {
	Name       string
	Address    netip.Addr
	NodePort   uint16
	FRPPort    uint16
	Pool       tables.PortRange
	Free       uint32 // ports, when this was issued: the heartbeat knows better
	Admission  tables.Admission
	FRPVersion string
	Version    string // of p2prc
	HTTPPort   uint16 // of all domains; 0: none are lent
	HTTPSPort  uint16
}

func readProxy(in *fields) *Proxy {
	p := &Proxy{
		Name:       in.name("name"),
		Address:    in.addr("address"),
		NodePort:   in.port("node-port"),
		FRPPort:    in.port("frp-port"),
		Free:       uint32(in.uint("free", 17)),
		Admission:  tables.Admission(in.text("admission", maxText)),
		FRPVersion: in.text("frp-version", maxText),
		Version:    in.text("version", maxText),
		HTTPPort:   in.portIfAny("http-port"),
		HTTPSPort:  in.portIfAny("https-port"),
	}
	pool := in.text("pool", maxText)
	var err error
	if p.Pool, err = tables.ParsePortRange(pool); err == nil && p.Pool.String() != pool {
		err = fmt.Errorf("%q is not in its one spelling", pool)
	}
	in.fail("pool", err)
	switch p.Admission {
	case tables.AdmitOpen, tables.AdmitToken, tables.AdmitMesh:
	default:
		in.fail("admission", fmt.Errorf("%q is none", string(p.Admission)))
	}
	return p
}

// NodeAddress is where the proxy's p2prc answers.
func (p *Proxy) NodeAddress() netip.AddrPort { return netip.AddrPortFrom(p.Address, p.NodePort) }

func (*Proxy) kind() Kind       { return KindProxy }
func (*Proxy) subject() Subject { return SubjectProxy }

func (p *Proxy) fields() []field {
	f := []field{
		{"address", p.Address.String()},
		{"admission", string(p.Admission)},
		{"free", strconv.FormatUint(uint64(p.Free), 10)},
		{"frp-port", strconv.Itoa(int(p.FRPPort))},
		{"frp-version", printable(p.FRPVersion, maxText)},
	}
	if p.HTTPPort != 0 {
		f = append(f, field{"http-port", strconv.Itoa(int(p.HTTPPort))})
	}
	if p.HTTPSPort != 0 {
		f = append(f, field{"https-port", strconv.Itoa(int(p.HTTPSPort))})
	}
	return append(
		f,
		field{"name", p.Name},
		field{"node-port", strconv.Itoa(int(p.NodePort))},
		field{"pool", p.Pool.String()},
		field{"version", printable(p.Version, maxText)},
	)
}

func (*Proxy) entitled(*Record) error { return nil }

// same does not look at the free ports, which heartbeats tell.
func (p *Proxy) same(other Body) bool {
	o, ok := other.(*Proxy)
	if !ok {
		return false
	}
	a, b := *p, *o
	a.Free, b.Free = 0, 0
	return a == b
}

// Heartbeat says that a reverse proxy lives, and how much it carries.
type Heartbeat struct {
	Free uint32 // ports that it could lend
	Load uint32 // live leases
}

func readHeartbeat(in *fields) *Heartbeat {
	return &Heartbeat{Free: uint32(in.uint("free", 17)), Load: uint32(in.uint("load", 17))}
}

func (*Heartbeat) kind() Kind       { return KindHeartbeat }
func (*Heartbeat) subject() Subject { return SubjectHeartbeat }

func (h *Heartbeat) fields() []field {
	return []field{
		{"free", strconv.FormatUint(uint64(h.Free), 10)},
		{"load", strconv.FormatUint(uint64(h.Load), 10)},
	}
}

func (*Heartbeat) entitled(*Record) error { return nil }

func (h *Heartbeat) same(other Body) bool { o, ok := other.(*Heartbeat); return ok && *o == *h }
