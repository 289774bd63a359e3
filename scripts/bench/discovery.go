package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2prc/supervisor/discovery"
)

const (
	manyProxies = 10
	manyServers = 40
	crowdSize   = 50
	spreadAim   = 1.0 // s
	knowCPUAim  = 0.5 // % of a core
	knowFlowAim = 5e3 // bytes/s

	knowFor     = time.Minute     // a table of 100,000 is written once in it
	quiet       = 30e3            // bytes/s: nobody fetches records any more
	quietFor    = 5 * time.Second // at a time
	quietWithin = 3 * time.Minute // a comparison waits twice as long each time
	fillLimit   = 6 * time.Minute // two nodes verify 100,000 records, which takes two minutes on two cores
)

// discover measures how soon all nodes know of a new one, what it costs to know
// many records while nothing changes, and how soon a client knows everything.
func discover(ctx context.Context, b *bench) ([]result, error) {
	var results []result
	for _, part := range []func(context.Context) ([]result, error){b.spread, b.coldStarts, b.knowing} {
		got, err := part(ctx)
		results = append(results, got...)
		if err = errors.Join(err, b.end()); err != nil {
			return results, err
		}
	}
	return results, nil
}

// lines is a table file with a row on each line, read again when it changed.
type lines struct {
	path string
	seen fs.FileInfo
	text []byte
}

func (l *lines) refresh() {
	info, err := os.Stat(l.path)
	if err != nil || l.seen != nil && os.SameFile(info, l.seen) && info.ModTime().Equal(l.seen.ModTime()) {
		return
	}
	if text, err := os.ReadFile(l.path); err == nil {
		l.seen, l.text = info, text
	}
}

// has reports whether some row is up and has all of this.
func (l *lines) has(parts ...string) bool {
	l.refresh()
	for line := range bytes.Lines(l.text) {
		ok := bytes.Contains(line, []byte(`"state":"up"`))
		for _, p := range parts {
			ok = ok && bytes.Contains(line, []byte(p))
		}
		if ok {
			return true
		}
	}
	return false
}

// up is how many rows are.
func (l *lines) up() int {
	l.refresh()
	return bytes.Count(l.text, []byte(`"state":"up"`))
}

func tablesOf(dirs []string, file string) []*lines {
	var all []*lines
	for _, dir := range dirs {
		all = append(all, &lines{path: filepath.Join(dir, file)})
	}
	return all
}

const (
	mappingFile = "reverse_proxy_mapping.json"
	proxyFile   = "reverse_proxy_server.json"
)

// spread starts a reverse proxy, and a server with a mapping, beside 50 nodes,
// and waits until all their table files have it, up.
func (b *bench) spread(ctx context.Context) ([]result, error) {
	var dirs []string
	var proxies []*neighbour
	for i := range manyProxies {
		var join []discovery.Seed
		if i > 0 {
			join = append(join, proxies[0].seed())
		}
		n, err := b.proxyNeighbour(join...)
		if err != nil {
			return nil, err
		}
		proxies, dirs = append(proxies, n), append(dirs, n.dir)
	}
	for i := range manyServers {
		n, err := b.serverNeighbour(discovery.Near{Seed: proxies[i%manyProxies].seed()}, discovery.Near{Seed: proxies[(i+1)%manyProxies].seed()})
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, n.dir)
	}
	carrier, err := b.meshedProxy(proxies[0].seed())
	if err != nil {
		return nil, err
	}
	if _, err := carrier.run(ctx, b.world); err != nil {
		return nil, err
	}
	all := tablesOf(dirs, proxyFile)
	if _, err := until(ctx, carrier.process, "50 nodes to know each other", func(context.Context) bool {
		return everyOne(all, func(l *lines) bool { return l.up() >= manyProxies })
	}); err != nil {
		return nil, err
	}
	locals, err := b.echoTCP(1)
	if err != nil {
		return nil, err
	}
	newProxy := func(ctx context.Context) (float64, error) {
		n, err := b.meshedProxy(proxies[1].seed())
		if err != nil {
			return 0, err
		}
		took, err := n.run(ctx, b.world)
		if err != nil {
			return 0, err
		}
		known, err := until(ctx, n.process, "everybody to know the proxy", func(context.Context) bool {
			return everyOne(all, func(l *lines) bool { return l.has(`"node_port":` + strconv.Itoa(n.port) + ",") })
		})
		return known.Sub(n.began.Add(took)).Seconds(), errors.Join(err, b.stop(n.process))
	}
	mappings := tablesOf(dirs, mappingFile)
	newMapping := func(ctx context.Context) (float64, error) {
		join, err := carrier.join(ctx, b.world)
		if err != nil {
			return 0, err
		}
		n, err := b.newServer(join, mapSpecs(locals)...)
		if err != nil {
			return 0, err
		}
		n.extra = []string{"--private-addresses"}
		took, err := n.run(ctx, b.world)
		if err != nil {
			return 0, err
		}
		up := n.table.proved(n.began)[0]
		known, err := until(ctx, n.process, "everybody to know the mapping", func(context.Context) bool {
			return everyOne(mappings, func(l *lines) bool {
				return l.has(`"name":"`+up.Name+`"`, `"bind_port":`+strconv.Itoa(up.BindPort)+",", `"node_id":"`+up.NodeID+`"`)
			})
		})
		return known.Sub(n.began.Add(took)).Seconds(), errors.Join(err, b.stop(n.process))
	}
	got, err := b.inTurns(ctx, "new proxy, new mapping", min(b.runs, 5), newProxy, newMapping)
	if err != nil {
		return nil, err
	}
	const of = ", in the tables of 50 nodes (10 proxies, 40 servers, in one process)"
	return []result{
		compare("spread-proxy", "new reverse proxy"+of, inSeconds, got[0], nil).below(spreadAim),
		compare("spread-mapping", "new mapping"+of, inSeconds, got[1], nil).below(spreadAim),
	}, nil
}

func everyOne(all []*lines, ok func(*lines) bool) bool {
	for _, l := range all {
		if !ok(l) {
			return false
		}
	}
	return true
}

// meshedProxy prepares a reverse proxy that joins the mesh of another.
func (w *world) meshedProxy(join discovery.Seed) (*proxyNode, error) {
	n, err := w.newProxy()
	if err == nil {
		n.extra = []string{"--ports", pool, "--private-addresses", "--join", join.String()}
	}
	return n, err
}

// coldStarts has a client that never ran ask one reverse proxy for everything.
// It has everything once each proxy was dialled and p2prc has ended.
func (b *bench) coldStarts(ctx context.Context) ([]result, error) {
	var results []result
	for _, n := range []int{10, 1000} {
		proxies := min(n/5, crowdSize)
		c, err := b.crowd(proxies)
		if err != nil {
			return results, err
		}
		if err := c.claim(ctx, n); err != nil {
			return results, err
		}
		got, err := b.inTurns(ctx, fmt.Sprintf("cold start to %d records", n), b.runs, func(ctx context.Context) (float64, error) {
			return b.coldStart(ctx, c.members[0].asSeed(), proxies, c.claims)
		})
		if err != nil {
			return results, err
		}
		what := fmt.Sprintf("client without a node, --add-server: all of %d records (%d proxies, each dialled)", n, proxies)
		results = append(results, compare(fmt.Sprintf("cold-%d", n), what, inSeconds, got[0], nil))
		if err := b.end(); err != nil {
			return results, err
		}
	}
	return results, nil
}

func (b *bench) coldStart(ctx context.Context, from discovery.Seed, proxies, mappings int) (float64, error) {
	dir, err := b.fresh()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, b.bin.p2prc, "--add-server", from.String(), "--private-addresses", "--state-dir", dir)
	cmd.Env = b.environment()
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("adding a server: %w: %s", err, out)
	}
	took := time.Since(began)
	if got := (&lines{path: filepath.Join(dir, proxyFile)}).up(); got != proxies {
		return 0, fmt.Errorf("the list has %d of %d reverse proxies", got, proxies)
	}
	if got := (&lines{path: filepath.Join(dir, mappingFile)}).up(); got != mappings {
		return 0, fmt.Errorf("the list has %d of %d mappings", got, mappings)
	}
	return took.Seconds(), nil
}

// knowing measures both roles while they know many records and nothing changes
// but heartbeats, in a mesh of 51 reverse proxies.
func (b *bench) knowing(ctx context.Context) ([]result, error) {
	if _, err := usageOf(os.Getpid()); err != nil {
		return nil, err // no Linux
	}
	var results []result
	for _, n := range []int{1000, 100_000} {
		got, err := b.knowingOf(ctx, n)
		results = append(results, got...)
		if err = errors.Join(err, b.end()); err != nil {
			return results, err
		}
	}
	return results, nil
}

// knowingOf has a reverse proxy and a server come to a mesh that knows so much.
func (b *bench) knowingOf(ctx context.Context, n int) ([]result, error) {
	c, err := b.crowd(crowdSize)
	if err != nil {
		return nil, err
	}
	// The two have a few records of their own, for which there has to be room.
	if err := c.claim(ctx, n-crowdSize); err != nil {
		return nil, err
	}
	began := time.Now()
	proxy, err := b.meshedProxy(c.members[0].asSeed())
	if err != nil {
		return nil, err
	}
	if _, err := proxy.run(ctx, b.world); err != nil {
		return nil, err
	}
	join, err := proxy.join(ctx, b.world)
	if err != nil {
		return nil, err
	}
	locals, err := b.echoTCP(1)
	if err != nil {
		return nil, err
	}
	server, err := b.newServer(join, mapSpecs(locals)...)
	if err != nil {
		return nil, err
	}
	server.extra = []string{"--private-addresses"}
	if _, err := server.run(ctx, b.world); err != nil {
		return nil, err
	}
	if err := b.awaitFull(ctx, tablesOf([]string{proxy.dir, server.dir}, mappingFile), c.claims); err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	b.note("%-45s %.1f s", fmt.Sprintf("two nodes learn %d records", n), took)
	learnt := compare(fmt.Sprintf("know-learn-%d", n), fmt.Sprintf("reverse proxy and server that come to %d records: both know all", n), inSeconds, samples{took}, nil)
	pids := []int{proxy.pid, server.pid}
	if err := b.awaitQuiet(ctx, pids); err != nil {
		return []result{learnt}, err
	}
	costs, err := b.knowingCosts(ctx, n, pids)
	return append([]result{learnt}, costs...), err
}

// awaitFull waits until the tables have so many mappings that are up. The files
// are large, so it looks rarely.
func (b *bench) awaitFull(ctx context.Context, all []*lines, mappings int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fillLimit, fmt.Errorf("not after %v", fillLimit))
	defer cancel()
	for !everyOne(all, func(l *lines) bool { return l.up() >= mappings }) {
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("waiting for %d mappings in the tables, which have %d and %d: %w", mappings, all[0].up(), all[1].up(), err)
		}
	}
	for _, l := range all {
		l.text = nil // as the one at 100,000 is 40 MB
	}
	return nil
}

// awaitQuiet waits until the nodes send each other no records any more.
func (b *bench) awaitQuiet(ctx context.Context, pids []int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, quietWithin, fmt.Errorf("records still travel after %v", quietWithin))
	defer cancel()
	for {
		costs, err := idling(ctx, pids, quietFor)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(costs, func(c cost) bool { return c.flow > quiet }) {
			return nil
		}
	}
}

func (b *bench) knowingCosts(ctx context.Context, n int, pids []int) ([]result, error) {
	costs, err := idling(ctx, pids, knowFor)
	if err != nil {
		return nil, err
	}
	var results []result
	for i, role := range []string{"reverse proxy", "server"} {
		name := fmt.Sprintf("%s-%d", strings.Fields(role)[0], n)
		what := fmt.Sprintf("%s that knows %d records, %d proxies: ", role, n, crowdSize+1)
		results = append(results,
			compare("know-cpu-"+name, what+"idle CPU", inPercent, samples{costs[i].busy}, nil).below(knowCPUAim),
			compare("know-flow-"+name, what+"sent and received on connections that stay", inFlow, samples{costs[i].flow}, nil).below(knowFlowAim),
			compare("know-rss-"+name, what+"RSS", inBytes, samples{costs[i].rss}, nil),
		)
	}
	return results, nil
}
