package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// tableSizes are the tables that are measured. A list of the larger ones has an aim.
var tableSizes = []struct {
	rows int
	aim  float64 // s; 0: none
}{{10, 0}, {1_000, 0}, {10_000, 0.1}, {100_000, 0.6}}

// commits are how many are timed in each.
const commits = 200

// growing measures what does not go through frp: how long a mapping takes to
// be durable, and a list to be printed, in a table that grows.
func growing(ctx context.Context, b *bench) ([]result, error) {
	var results []result
	for _, size := range tableSizes {
		n := size.rows
		dir, took, err := b.commits(n)
		if err != nil {
			return results, err
		}
		results = append(results, compare(fmt.Sprintf("commit-%d", n),
			fmt.Sprintf("one mapping made durable, in a table of %d", n), inSeconds, took, nil))
		if size.aim == 0 {
			continue
		}
		plain := func(ctx context.Context) (float64, error) { return b.view(ctx, dir) }
		asJSON := func(ctx context.Context) (float64, error) { return b.view(ctx, dir, "--json") }
		got, err := b.inTurns(ctx, fmt.Sprintf("views of %d rows", n), b.runs, plain, asJSON)
		if err != nil {
			return results, err
		}
		results = append(results,
			compare(fmt.Sprintf("view-%d", n), fmt.Sprintf("p2prc --view-rpm, %d rows", n), inSeconds, got[0], nil).atMost(size.aim),
			compare(fmt.Sprintf("view-json-%d", n), fmt.Sprintf("p2prc --view-rpm --json, %d rows", n), inSeconds, got[1], nil).atMost(size.aim))
	}
	return results, nil
}

// commits fills a table with n mappings and times how long one of them takes to
// be committed again. The rows are left, so that a view shows them.
func (b *bench) commits(n int) (dir string, took samples, err error) {
	if dir, err = b.fresh(); err != nil {
		return "", nil, err
	}
	d, err := tables.OpenDir(dir)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	s, err := tables.Open(d, tables.Options{})
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, s.Close(true)) }()
	node, proxy := identity.NewKey().ID(), identity.NewKey().ID()
	var full tables.Batch
	for i := range n {
		full.Mappings = append(full.Mappings, mappingRow(node, proxy, i, 0))
	}
	if err := s.Commit(full); err != nil {
		return "", nil, err
	}
	began := time.Now()
	for i := range commits {
		one := tables.Batch{Mappings: []tables.Mapping{mappingRow(node, proxy, i%n, i+1)}}
		start := time.Now()
		if err := s.Commit(one); err != nil {
			return "", nil, err
		}
		took = append(took, time.Since(start).Seconds())
	}
	b.note("%-45s %d runs in %.1f s", fmt.Sprintf("commits to a table of %d", n), commits, time.Since(began).Seconds())
	return dir, took, nil
}

// mappingRow is the ith mapping of a table, under a lease of its own each time.
func mappingRow(node, proxy identity.ID, i, lease int) tables.Mapping {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return tables.Mapping{
		ServerName: "home", Address: netip.MustParseAddr("203.0.113.7"), Type: tables.TCP, BindPort: uint16(1024 + i%60_000),
		LocalAddress: netip.AddrPortFrom(netip.MustParseAddr(host), 3000), Name: fmt.Sprintf("web-%d", i),
		State: tables.Up, VerifiedAt: now, LeaseUntil: now.Add(time.Hour), NodeID: node, ProxyID: proxy, LeaseID: fmt.Sprintf("%032x", lease),
	}
}

// view is one list by the program itself, with nothing of it in memory before.
func (b *bench) view(ctx context.Context, dir string, args ...string) (float64, error) {
	cmd := exec.CommandContext(ctx, b.bin.p2prc, append([]string{"--view-rpm", "--state-dir", dir}, args...)...)
	cmd.Env = b.environment()
	began := time.Now()
	out, err := cmd.Output()
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("p2prc --view-rpm: %w", err)
	}
	if len(out) == 0 {
		return 0, errors.New("p2prc --view-rpm printed nothing")
	}
	return took.Seconds(), nil
}
