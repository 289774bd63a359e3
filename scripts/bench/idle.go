package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	idleFor   = 20 * time.Second
	settling  = 3 * time.Second // what a start leaves to do: snapshots, a garbage collection
	memoryAim = 30e6            // bytes
	cpuAim    = 0.1             // % of a core
)

// idle measures what the two roles cost while nothing happens, beside the frp
// that each of them runs. A bare frp costs the same as those: they are stock.
func idle(ctx context.Context, b *bench) ([]result, error) {
	if _, err := usageOf(os.Getpid()); err != nil {
		return nil, err // no Linux
	}
	var results []result
	for _, n := range []int{1, 1000} {
		got, err := b.idleWith(ctx, n)
		if err != nil {
			return results, err
		}
		results = append(results, got...)
		if err := b.end(); err != nil {
			return results, err
		}
	}
	return results, nil
}

func (b *bench) idleWith(ctx context.Context, n int) ([]result, error) {
	locals, err := b.echoTCP(n)
	if err != nil {
		return nil, err
	}
	p, err := b.ownPair(ctx, locals)
	if err != nil {
		return nil, err
	}
	frps, err := childPID(p.proxy.dir, "frps")
	if err != nil {
		return nil, err
	}
	frpc, err := childPID(p.server.dir, "frpc")
	if err != nil {
		return nil, err
	}
	pids := []int{p.proxy.pid, frps, p.server.pid, frpc}
	if err := pause(ctx, settling); err != nil {
		return nil, err
	}
	cost, err := idling(ctx, pids, idleFor)
	if err != nil {
		return nil, err
	}
	b.note("%-45s %.1f s", fmt.Sprintf("idle with %d mappings", n), idleFor.Seconds())

	var results []result
	for i, role := range []string{"reverse proxy", "server"} {
		own, frp := cost[2*i], cost[2*i+1]
		name := fmt.Sprintf("%s-%d", strings.Fields(role)[0], n)
		what := fmt.Sprintf("%s with %d mappings, beside its own frp: ", role, n)
		results = append(results,
			compare("rss-"+name, what+"RSS", inBytes, samples{own.rss}, samples{frp.rss}).atMost(memoryAim),
			compare("pss-"+name, what+"PSS", inBytes, samples{own.pss}, samples{frp.pss}),
			compare("cpu-"+name, what+"idle CPU", inPercent, samples{own.busy}, samples{frp.busy}).below(cpuAim),
		)
	}
	return results, nil
}

// cost is what a process took over some time, and its memory at the end of it.
type cost struct {
	usage
	busy float64 // % of a core
	flow float64 // bytes/s both ways, on TCP connections that stay
}

// idling measures what processes cost while nothing is asked of them.
func idling(ctx context.Context, pids []int, during time.Duration) ([]cost, error) {
	before, err := usages(pids)
	if err != nil {
		return nil, err
	}
	flowBefore, err := socketBytes(ctx, pids)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := pause(ctx, during); err != nil {
		return nil, err
	}
	after, err := usages(pids)
	if err != nil {
		return nil, err
	}
	flowAfter, err := socketBytes(ctx, pids)
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	costs := make([]cost, len(pids))
	for i := range pids {
		costs[i] = cost{after[i], 100 * (after[i].cpu - before[i].cpu).Seconds() / took, (flowAfter[i] - flowBefore[i]) / took}
	}
	return costs, nil
}

// usage is what a process has cost so far.
type usage struct {
	rss, pss float64 // bytes
	cpu      time.Duration
}

func usages(pids []int) ([]usage, error) {
	all := make([]usage, len(pids))
	for i, pid := range pids {
		var err error
		if all[i], err = usageOf(pid); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// usageOf reads /proc. CPU time comes from the scheduler's own count of each
// thread, in nanoseconds: in /proc/PID/stat the aim, 0.1 % of 20 s, is two ticks.
func usageOf(pid int) (usage, error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(proc, "smaps_rollup"))
	if err != nil {
		return usage{}, fmt.Errorf("measuring memory: %w", err)
	}
	u := usage{rss: kilobytes(string(text), "Rss"), pss: kilobytes(string(text), "Pss")}
	threads, err := filepath.Glob(filepath.Join(proc, "task", "*", "schedstat"))
	if err != nil {
		return usage{}, fmt.Errorf("measuring CPU time: %w", err)
	}
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil {
			return usage{}, fmt.Errorf("measuring CPU time: %w", err)
		}
		ran, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("measuring CPU time: %w", err)
		}
		u.cpu += time.Duration(ran)
	}
	return u, nil
}

// kilobytes is a line "Rss: 1234 kB", in bytes.
func kilobytes(text, key string) float64 {
	n, _, _ := strings.Cut(field(text, key), " ")
	kb, err := strconv.ParseFloat(n, 64)
	if err != nil {
		return 0
	}
	return kb * 1024
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
