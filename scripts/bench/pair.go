package main

import (
	"context"
	"errors"
	"fmt"
)

// ownPair is a reverse proxy and a server of p2prc with every mapping up.
type ownPair struct {
	world  *world
	proxy  *proxyNode
	server *serverNode
	public []int // the ports of the services at the proxy, in their order
}

// ownPair starts both for the first time.
func (w *world) ownPair(ctx context.Context, locals []int) (*ownPair, error) {
	p := &ownPair{world: w}
	var err error
	if p.proxy, err = w.startProxy(ctx); err != nil {
		return nil, err
	}
	join, err := p.proxy.join(ctx, w)
	if err != nil {
		return nil, err
	}
	if p.server, err = w.newServer(join, mapSpecs(locals)...); err != nil {
		return nil, err
	}
	if _, err := p.server.run(ctx, w); err != nil {
		return nil, err
	}
	for _, r := range p.server.table.proved(p.server.began) { // sorted by name
		p.public = append(p.public, r.BindPort)
	}
	return p, nil
}

func (p *ownPair) end() error {
	return errors.Join(p.world.stop(p.server.process), p.world.stop(p.proxy.process))
}

// mapSpecs are --map arguments whose names sort as the services do.
func mapSpecs(locals []int) []string {
	specs := make([]string, len(locals))
	for i, local := range locals {
		specs[i] = fmt.Sprintf("m%04d=%d", i, local)
	}
	return specs
}

// barePair is an frps and an frpc with every mapping open.
type barePair struct {
	world  *world
	frps   *bareFRPS
	frpc   *process
	conf   string // of frpc
	admin  int    // its port, where it has one
	public []int
}

func (w *world) barePair(ctx context.Context, locals []int) (*barePair, error) {
	p := &barePair{world: w}
	maps, err := w.publish("tcp", locals...)
	if err != nil {
		return nil, err
	}
	for _, m := range maps {
		p.public = append(p.public, m.public)
	}
	if p.frps, err = w.startFRPS(ctx); err != nil {
		return nil, err
	}
	if p.conf, err = w.frpcFile(p.frps.port, maps); err != nil {
		return nil, err
	}
	if p.frpc, err = w.bareFRPC(p.conf); err != nil {
		return nil, err
	}
	_, err = allOpen(ctx, p.frpc, len(maps))
	return p, err
}

func (p *barePair) end() error {
	return errors.Join(p.world.stop(p.frpc), p.world.stop(p.frps.process))
}
