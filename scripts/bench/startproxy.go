package main

import (
	"context"
	"time"
)

// startingProxy measures the other role.
func startingProxy(ctx context.Context, b *bench) ([]result, error) {
	cert, err := b.ecCert()
	if err != nil {
		return nil, err
	}
	bare := func(extra string) func(context.Context) (float64, error) {
		return b.timed(func(ctx context.Context) (*process, time.Duration, error) {
			f, err := b.newFRPS(extra)
			if err != nil {
				return nil, 0, err
			}
			took, err := f.run(ctx, b.world)
			return f.process, took, err
		})
	}
	first := b.timed(func(ctx context.Context) (*process, time.Duration, error) {
		n, err := b.newProxy()
		if err != nil {
			return nil, 0, err
		}
		took, err := n.run(ctx, b.world)
		return n.process, took, err
	})
	known, err := b.startProxy(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.stop(known.process); err != nil {
		return nil, err
	}
	again := b.timed(func(ctx context.Context) (*process, time.Duration, error) {
		took, err := known.run(ctx, b.world)
		return known.process, took, err
	})
	got, err := b.inTurns(ctx, "start of a reverse proxy", b.runs, first, bare(""), again, bare(cert))
	if err != nil {
		return nil, err
	}
	return []result{
		compare("proxy-first", "reverse proxy's first start, to ready; bare frps makes its RSA key", inSeconds, got[0], got[1]).times(0.6),
		compare("proxy-again", "reverse proxy's restart, to ready; bare frps makes its RSA key", inSeconds, got[2], got[1]).times(0.6),
		compare("proxy-first-ec", "reverse proxy's first start, to ready; bare frps is given a certificate", inSeconds, got[0], got[3]).times(3),
		compare("proxy-again-ec", "reverse proxy's restart, to ready; bare frps is given a certificate", inSeconds, got[2], got[3]).times(3),
	}, nil
}
