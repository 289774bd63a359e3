package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/netaddr"
	"p2prc/tables/peerapi"
	"p2prc/tables/record"
)

// neighbour is a node in this process: all of discovery and the tables, and
// neither frp nor mappings.
type neighbour struct {
	dir    string
	port   int // of a reverse proxy
	store  *tables.Store
	cancel context.CancelFunc
	served sync.WaitGroup
}

// proxyNeighbour is a reverse proxy that joined the mesh of another one, if any.
func (w *world) proxyNeighbour(join ...discovery.Seed) (*neighbour, error) {
	n := &neighbour{}
	var err error
	if n.port, err = w.freePort(); err != nil {
		return nil, err
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr(host), uint16(n.port))
	return n, w.serve(n, discovery.Options{
		Say: func() []record.Body { return []record.Body{proxyBody(addr)} },
		Proxy: &discovery.ProxyOptions{
			Address: addr, Join: join,
			Beat:     func() record.Heartbeat { return record.Heartbeat{Free: 1000} },
			Admitted: func(identity.ID) bool { return true },
		},
	})
}

// serverNeighbour is a node that only attaches, to these first.
func (w *world) serverNeighbour(near ...discovery.Near) (*neighbour, error) {
	n := &neighbour{}
	return n, w.serve(n, discovery.Options{Near: func() []discovery.Near { return near }})
}

// proxyBody is what a reverse proxy of this process says of itself.
func proxyBody(addr netip.AddrPort) *record.Proxy {
	return &record.Proxy{
		Name: fmt.Sprintf("gate-%d", addr.Port()), Address: addr.Addr(), NodePort: addr.Port(), FRPPort: 7000,
		Pool:      tables.PortRange{First: 20000, Last: 29999},
		Admission: tables.AdmitToken, FRPVersion: "0.70.1", Version: "bench",
	}
}

// serve runs the node until the world ends.
func (w *world) serve(n *neighbour, o discovery.Options) error {
	var err error
	if n.dir, err = w.fresh(); err != nil {
		return err
	}
	if o.Dir, err = tables.OpenDir(n.dir); err != nil {
		return err
	}
	o.Key, o.Log = identity.NewKey(), slog.New(slog.DiscardHandler)
	o.Filter = netaddr.Filter{Private: true}
	if o.Store, err = tables.Open(o.Dir, tables.Options{Log: o.Log}); err != nil {
		return err
	}
	n.store = o.Store
	d, err := discovery.New(o)
	if err != nil {
		return errors.Join(err, o.Store.Close(false))
	}
	var ln net.Listener
	if o.Proxy != nil {
		if ln, err = net.Listen("tcp4", at(n.port)); err != nil {
			return errors.Join(err, o.Store.Close(false))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	run := func(serve func(context.Context) error) {
		n.served.Go(func() { _ = serve(ctx) }) // it ends with ctx
	}
	if ln != nil {
		run(peerapi.NewPort(ln, peerapi.PortOptions{
			Key: o.Key, Info: func() peerapi.ServerInfo { return peerapi.ServerInfo{NodeID: o.Key.ID()} }, Protocols: d.Protocols(),
		}).Serve)
	}
	run(o.Store.Serve)
	run(d.Serve)
	w.open = append(w.open, n)
	return nil
}

// Close ends the node without a goodbye.
func (n *neighbour) Close() error {
	n.cancel()
	n.served.Wait()
	return n.store.Close(false)
}

func (n *neighbour) seed() discovery.Seed { return discovery.Seed{Host: host, Port: uint16(n.port)} }
