package supervisor

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"p2prc/frpconf"
	"p2prc/supervisor/child"
	"p2prc/tables/peerapi"
)

// configured is what decides over frpc.toml, as frpc was last given it.
type configured struct {
	proc *child.Process
	frp  *peerapi.FRP
	maps map[*mapping]opened
}

// opened is what frpc was told of one mapping.
type opened struct {
	lease string
	port  uint16
	local netip.AddrPort
	try   int
}

// open reports whether frpc is to have the mapping, and what it is to be told.
func (m *mapping) open() (o opened, ok bool) {
	if m.lease == nil || !m.port.ok {
		return opened{}, false
	}
	return opened{m.lease.ID, m.lease.Port, m.Local, m.try}, true
}

// upToDate reports whether the running frpc has what it is to have: a pass must
// cost little while nothing changes, with thousands of mappings too.
func (a *attachment) upToDate() bool {
	w := a.written
	if w == nil || w.proc == nil || w.proc != a.frpc.proc || w.frp != a.frp {
		return false
	}
	n := 0
	for _, m := range a.maps {
		o, ok := m.open()
		if !ok {
			continue
		}
		if n++; w.maps[m] != o {
			return false
		}
	}
	return n == len(w.maps)
}

// configure makes frpc run with every mapping that has a lease and a port that
// can be reached.
func (a *attachment) configure(ctx context.Context) configuring {
	if a.frp == nil || a.upToDate() {
		return unchanged
	}
	conf := frpconf.Client{
		ServerAddr:    a.up.Host,
		ServerPort:    a.frp.Port,
		Token:         frpconf.Secret(a.frp.Token),
		TrustedCAFile: a.trusted(*a.frp),
		ServerName:    a.frp.ServerName,
		Metadatas:     map[string]frpconf.Secret{metaNode: frpconf.Secret(a.s.key.ID()), metaCredential: frpconf.Secret(a.frp.Credential)},
		Keepalive:     time.Duration(a.frp.Keepalive) * time.Second,
	}
	written := &configured{frp: a.frp, maps: make(map[*mapping]opened, len(a.maps))}
	for _, m := range a.maps {
		o, ok := m.open()
		if !ok {
			continue
		}
		written.maps[m] = o
		p := frpconf.Proxy{Name: a.proxyName(m), Type: m.Type.FRP(), Local: m.Local, Domain: m.Domain, Metadatas: retryMeta(m)}
		if !m.Type.ByName() {
			p.RemotePort = m.lease.Port
		}
		conf.Proxies = append(conf.Proxies, p)
	}
	if len(conf.Proxies) == 0 && a.frpc.proc == nil {
		return unchanged
	}
	changed, err := a.frpc.ensure(ctx, time.Now(), conf)
	if err != nil {
		a.written = nil
		level := slog.LevelWarn
		if a.unconfigured == err.Error() {
			level = slog.LevelDebug
		}
		a.frpc.lastErr, a.unconfigured = err.Error(), err.Error()
		a.log.Log(ctx, level, "running frpc", "err", err)
		return changed
	}
	a.unconfigured = ""
	written.proc = a.frpc.proc
	a.written = written
	return changed
}
