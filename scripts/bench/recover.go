package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Recovery is measured from kill -9 until a request through the mapped port is
// answered and the row on the server's disk says up, proved since the kill. A
// bare frp has no rows, and its killed half is started again at once, as by a
// hand that needs no time.

const (
	frpcAim = 1.0 // s
	frpsAim = 2.0

	// requestWait is short, since frp holds a connection that it accepted
	// while the other half was gone for ten seconds, and never serves it.
	requestWait = 100 * time.Millisecond
)

// Every sample has a pair of its own: both p2prc and frpc grow more careful
// with each failure of the same minute.
func recovery(ctx context.Context, b *bench) ([]result, error) {
	locals, err := b.echoTCP(1)
	if err != nil {
		return nil, err
	}
	var results []result
	for _, c := range []struct {
		name string
		aim  float64
	}{{"frpc", frpcAim}, {"frps", frpsAim}} {
		got, err := b.inTurns(ctx, "recovery of a killed "+c.name, b.runs,
			func(ctx context.Context) (float64, error) {
				p, err := b.ownPair(ctx, locals)
				if err != nil {
					return 0, err
				}
				took, err := p.afterKill(ctx, c.name)
				return took, errors.Join(err, p.end())
			},
			func(ctx context.Context) (float64, error) {
				p, err := b.barePair(ctx, locals)
				if err != nil {
					return 0, err
				}
				took, err := p.afterKill(ctx, c.name)
				return took, errors.Join(err, p.end())
			})
		if err != nil {
			return results, err
		}
		what := c.name + " killed, to request answered and row proved again"
		results = append(results, compare("recover-"+c.name, what, inSeconds, got[0], got[1]).below(c.aim))
	}
	return results, nil
}

// afterKill kills the child that one of the two keeps.
func (p *ownPair) afterKill(ctx context.Context, name string) (float64, error) {
	keeper := p.server.dir
	if name == "frps" {
		keeper = p.proxy.dir
	}
	pid, err := childPID(keeper, name)
	if err != nil {
		return 0, err
	}
	child, err := os.FindProcess(pid)
	if err != nil {
		return 0, fmt.Errorf("looking for %s: %w", name, err)
	}
	killed := time.Now()
	if err := child.Kill(); err != nil {
		return 0, fmt.Errorf("killing %s: %w", name, err)
	}
	served := false
	done, err := until(ctx, p.server.process, "the recovery from a killed "+name, func(context.Context) bool {
		served = served || echoes("tcp", p.public[0], requestWait)
		return served && len(p.server.table.proved(killed)) == len(p.public)
	})
	return done.Sub(killed).Seconds(), err
}

// afterKill kills one of the two and starts it again.
func (p *barePair) afterKill(ctx context.Context, name string) (float64, error) {
	killed := time.Now()
	if name == "frps" {
		p.world.forget(p.frps.process)
		if err := p.frps.kill(); err != nil {
			return 0, err
		}
		if _, err := p.frps.run(ctx, p.world); err != nil {
			return 0, err
		}
	} else {
		p.world.forget(p.frpc)
		if err := p.frpc.kill(); err != nil {
			return 0, err
		}
		var err error
		if p.frpc, err = p.world.bareFRPC(p.conf); err != nil {
			return 0, err
		}
	}
	done, err := until(ctx, p.frpc, "bare frp to recover", func(context.Context) bool { return echoes("tcp", p.public[0], requestWait) })
	return done.Sub(killed).Seconds(), err
}
