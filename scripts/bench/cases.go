package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// benchCase is one question; its results are the answers.
type benchCase struct {
	name, doc string
	run       func(context.Context, *bench) ([]result, error)
}

var cases = []benchCase{
	{"server", "start of a server with one mapping", startServer},
	{"proxy", "start of a reverse proxy", startingProxy},
	{"thousand", "start of a server with 1,000 mappings", startThousand},
	{"recover", "recovery of a killed frpc or frps", recovery},
	{"live", "mapping and unmapping on a running node", live},
	{"tables", "commits and views of tables that grow", growing},
	{"idle", "memory and idle CPU", idle},
	{"traffic", "traffic through a mapping", traffic},
	{"discovery", "how soon everybody knows, and what knowing costs", discover},
}

// bench is what a case measures with.
type bench struct {
	*world
	runs     int
	progress io.Writer
}

// inTurns measures each function once, then each again, and so on: what
// disturbs one disturbs its neighbours.
func (b *bench) inTurns(ctx context.Context, what string, runs int, measure ...func(context.Context) (float64, error)) ([]samples, error) {
	all := make([]samples, len(measure))
	began := time.Now()
	for i := range runs {
		for j, m := range measure {
			v, err := m(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s, run %d: %w", what, i+1, err)
			}
			all[j] = append(all[j], v)
		}
	}
	b.note("%-45s %d runs in %.1f s", what, runs, time.Since(began).Seconds())
	return all, nil
}

func (b *bench) note(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// timed is a measurement whose process is ended afterwards, outside the time.
func (b *bench) timed(run func(context.Context) (*process, time.Duration, error)) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		p, took, err := run(ctx)
		if err != nil {
			return 0, err
		}
		return took.Seconds(), b.stop(p)
	}
}
