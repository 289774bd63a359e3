package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Where the mappings of this case go at the proxy, p2prc's and bare frp's. Both
// have ten thousand of them at once.
const (
	livePool  = "10000-20999"
	bareFirst = 21000
	bareLast  = 31599
)

// What a new mapping may take, from the start of the command to the proved
// address on its stdout, on a node that has so many already.
var liveAims = []struct {
	mappings int
	aim      float64 // s
}{{1, 0.060}, {1_000, 0.100}, {10_000, 0.400}}

const (
	liveConns = 100   // held open through one mapping all the time
	inARow    = 1_000 // calls of p2prc map, one after the other
)

// live measures mapping and unmapping on a running node, beside a reload of a
// bare frpc that has as many proxies.
func live(ctx context.Context, b *bench) ([]result, error) {
	var results []result
	for _, l := range liveAims {
		got, err := b.liveWith(ctx, l.mappings, l.aim)
		results = append(results, got...)
		if err = errors.Join(err, b.end()); err != nil {
			return results, err
		}
	}
	return results, nil
}

// liveNode is a node that gets its mappings while it runs.
type liveNode struct {
	*ownPair
	bench *bench
}

func (b *bench) liveWith(ctx context.Context, n int, aim float64) ([]result, error) {
	locals, err := b.echoTCP(n + b.runs + inARow)
	if err != nil {
		return nil, err
	}
	node, err := b.liveNode(ctx)
	if err != nil {
		return nil, err
	}
	var results []result
	took := func(name, what string, v float64) {
		results = append(results, compare(name, what, inSeconds, samples{v}, nil))
	}
	have, more := locals[:n], locals[n:]
	secs, ports, err := node.mapAll(ctx, have)
	if err != nil {
		return nil, err
	}
	if n > 1 {
		took(fmt.Sprintf("map-%d-at-once", n), fmt.Sprintf("%d mappings by one p2prc map", n), secs)
	}
	held, err := hold(ctx, ports[0])
	if err != nil {
		return nil, err
	}
	bare, err := b.reloading(ctx, have)
	if err != nil {
		return nil, err
	}
	i := 0
	one, err := b.inTurns(ctx, fmt.Sprintf("one mapping more than %d", n), b.runs,
		func(ctx context.Context) (float64, error) {
			i++
			secs, _, err := node.mapAll(ctx, more[i-1:i])
			return secs, err
		},
		func(ctx context.Context) (float64, error) { return bare.add(ctx, more[i-1]) })
	if err != nil {
		return results, err
	}
	results = append(results, compare(fmt.Sprintf("map-beside-%d", n), fmt.Sprintf("one mapping more than %d, command to proved address; bare: a reload of frpc", n),
		inSeconds, one[0], one[1]).atMost(aim))
	if n == 1 {
		udp, err := node.mapUDP(ctx, b)
		if err != nil {
			return results, err
		}
		results = append(results, compare("map-udp", "the first UDP mapping of a node", inSeconds, samples{udp}, nil).atMost(aim+0.55))
		row, err := node.inARow(ctx, more[b.runs:])
		if err != nil {
			return results, err
		}
		results = append(results, row...)
		n += inARow
	}
	began := time.Now()
	// The one that is held goes last: connections outlive their mapping as well.
	if _, err := node.run(ctx, "unmap", "--all"); err != nil {
		return results, err
	}
	took(fmt.Sprintf("unmap-%d", n), fmt.Sprintf("p2prc unmap --all of %d", n+b.runs), time.Since(began).Seconds())
	results = append(results, compare(fmt.Sprintf("dropped-%d", n), fmt.Sprintf("connections dropped of %d, by all that", liveConns), inRate, samples{float64(held.dropped())}, nil).atMost(0))
	return results, nil
}

func (b *bench) liveNode(ctx context.Context) (*liveNode, error) {
	n := &liveNode{ownPair: &ownPair{world: b.world}, bench: b}
	var err error
	if n.proxy, err = b.newProxy(); err != nil {
		return nil, err
	}
	n.proxy.extra = []string{"--ports", livePool, "--max-ports-per-node", "11000"}
	if _, err := n.proxy.run(ctx, b.world); err != nil {
		return nil, err
	}
	join, err := n.proxy.join(ctx, b.world)
	if err != nil {
		return nil, err
	}
	if n.server, err = b.newServer(join); err != nil {
		return nil, err
	}
	if _, err := n.server.run(ctx, b.world); err != nil {
		return nil, err
	}
	_, err = until(ctx, n.server.process, "the node", func(ctx context.Context) bool {
		_, err := n.run(ctx, "wait", "--all")
		return err == nil
	})
	return n, err
}

// run is one command to the running node; the result is its stdout.
func (n *liveNode) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.world.bin.p2prc, append(args, "--state-dir", n.server.dir)...)
	cmd.Env = n.world.environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("p2prc %s: %w: %s", args[0], err, stderr.String())
	}
	return string(out), nil
}

// mapAll is one p2prc map: how long it took, and the public ports.
func (n *liveNode) mapAll(ctx context.Context, locals []int) (secs float64, ports []int, err error) {
	args := []string{"map", "--timeout", "120s"}
	for _, local := range locals {
		args = append(args, strconv.Itoa(local))
	}
	began := time.Now()
	out, err := n.run(ctx, args...)
	secs = time.Since(began).Seconds()
	for line := range strings.Lines(out) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), ":")
		port, perr := strconv.Atoi(text)
		err = errors.Join(err, perr)
		ports = append(ports, port)
	}
	if err == nil && len(ports) != len(locals) {
		err = fmt.Errorf("p2prc map printed %d addresses for %d services", len(ports), len(locals))
	}
	return secs, ports, err
}

// inARow is one p2prc map after the other, and a tenth of them at each end.
func (n *liveNode) inARow(ctx context.Context, locals []int) ([]result, error) {
	var took samples
	began := time.Now()
	for _, local := range locals {
		secs, _, err := n.mapAll(ctx, []int{local})
		if err != nil {
			return nil, err
		}
		took = append(took, secs)
	}
	all := time.Since(began).Seconds()
	n.bench.note("%-45s %.1f s", fmt.Sprintf("%d calls of p2prc map in a row", len(locals)), all)
	tenth := len(took) / 10
	return []result{
		compare("map-in-a-row", fmt.Sprintf("%d calls of p2prc map, one after the other", len(locals)), inSeconds, samples{all}, nil),
		compare("map-in-a-row-first", "one of the first tenth of them", inSeconds, took[:tenth], nil),
		compare("map-in-a-row-last", "one of the last tenth of them", inSeconds, took[len(took)-tenth:], nil),
	}, nil
}

func (n *liveNode) mapUDP(ctx context.Context, b *bench) (float64, error) {
	local, err := b.echoUDP()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	_, err = n.run(ctx, "map", "--udp", strconv.Itoa(local))
	return time.Since(began).Seconds(), err
}

// reloading is a bare frpc whose file gets one proxy after the other.
type reloading struct {
	*barePair
	w    *world
	maps []mapped
}

func (b *bench) reloading(ctx context.Context, locals []int) (*reloading, error) {
	r := &reloading{barePair: &barePair{world: b.world}, w: b.world}
	for i, local := range locals {
		r.maps = append(r.maps, mapped{"tcp", local, bareFirst + i})
	}
	var err error
	if r.frps, err = b.startFRPS(ctx); err != nil {
		return nil, err
	}
	if err = r.write(); err != nil {
		return nil, err
	}
	if r.frpc, err = b.bareFRPC(r.conf); err != nil {
		return nil, err
	}
	_, err = allOpen(ctx, r.frpc, len(r.maps))
	return r, err
}

func (r *reloading) write() error {
	path, err := r.w.frpcFile(r.frps.port, r.maps)
	if err != nil {
		return err
	}
	if r.conf == "" { // frpc reload asks here
		r.conf = path
		if r.admin, err = r.w.freePort(); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading frpc.toml: %w", err)
	}
	head := fmt.Sprintf("webServer.addr = %q\nwebServer.port = %d\n", host, r.admin)
	if err := os.WriteFile(r.conf, append([]byte(head), text...), 0o600); err != nil {
		return fmt.Errorf("writing frpc.toml: %w", err)
	}
	return nil
}

// add is what a user of frp does: a proxy more in the file, frpc reload, and
// look until it is open.
func (r *reloading) add(ctx context.Context, local int) (float64, error) {
	if bareFirst+len(r.maps) > bareLast {
		return 0, errors.New("bare frp has no port left")
	}
	r.maps = append(r.maps, mapped{"tcp", local, bareFirst + len(r.maps)})
	began := time.Now()
	if err := r.write(); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, r.w.bin.frpc, "reload", "-c", r.conf)
	cmd.Env = r.w.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("frpc reload: %w: %s", err, out)
	}
	_, err := until(ctx, r.frpc, "the new proxy", func(ctx context.Context) bool {
		return accepts(ctx, bareFirst+len(r.maps)-1)
	})
	return time.Since(began).Seconds(), err
}

// holding are connections that must live on.
type holding []net.Conn

func hold(ctx context.Context, port int) (holding, error) {
	var h holding
	for range liveConns {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp4", at(port))
		if err != nil {
			return nil, fmt.Errorf("holding a connection: %w", err)
		}
		h = append(h, conn)
	}
	if n := h.lost(); n > 0 {
		return nil, fmt.Errorf("%d of %d connections carry nothing from the start", n, liveConns)
	}
	return h, nil
}

// lost counts the connections through which nothing comes back.
func (h holding) lost() int {
	n := 0
	for _, conn := range h {
		buf := make([]byte, 4)
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // or the next call fails
		_, err := conn.Write([]byte("ping"))
		if err == nil {
			_, err = io.ReadFull(conn, buf)
		}
		if err != nil || string(buf) != "ping" {
			n++
		}
	}
	return n
}

// dropped counts them for the last time.
func (h holding) dropped() int {
	n := h.lost()
	for _, conn := range h {
		conn.Close()
	}
	return n
}
