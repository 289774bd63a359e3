// Command bench measures p2prc beside bare frp, in the same run and in turns:
// start, recovery, memory, idle CPU, traffic; and, without a bare frp to compare
// with, discovery. It prints a table and writes what it measured, sample by
// sample, to a file.
//
// What is measured is a black box here: its command line, its table files, its
// processes. Only the many nodes that stand around it in discovery are made of
// p2prc's packages, in this process and without frp. Not here: whether p2prc
// works (the tests of each package).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bound ends a run that hangs: all cases together take about ten minutes.
const bound = 25 * time.Minute

type options struct {
	runs  int
	only  string
	json  string
	frps  string
	frpc  string
	p2prc string
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 10, "measure each case `N` times")
	flag.StringVar(&o.only, "only", "", "run these `CASES` only, separated by commas: "+strings.Join(caseNames(), ", "))
	flag.StringVar(&o.json, "json", "bench.json", "write every sample to `FILE`")
	flag.StringVar(&o.frps, "frps", "", "measure with the frps at `PATH`; default: .frp/, then $PATH")
	flag.StringVar(&o.frpc, "frpc", "", "measure with the frpc at `PATH`; default: .frp/, then $PATH")
	flag.StringVar(&o.p2prc, "p2prc", "", "measure the p2prc at `PATH`; default: build it")
	flag.Parse()
	if flag.NArg() > 0 || o.runs < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		os.Exit(1)
	}
}

// run measures, prints and writes. Cases that could not be measured are in
// both reports and in the error.
func run(ctx context.Context, o options, out, progress io.Writer) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not done after %v", bound))
	defer cancel()
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "p2prc-bench-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	w := &world{dir: dir}
	if w.bin, err = findBinaries(ctx, o, dir); err != nil {
		return err
	}
	rep := report{Schema: schema, Started: time.Now().UTC().Truncate(time.Second), Runs: o.runs, Machine: thisMachine()}
	if rep.Versions, err = versions(ctx, w.bin); err != nil {
		return err
	}

	var failed []error
	for _, c := range chosen {
		b := &bench{world: w, runs: o.runs, progress: progress}
		results, err := c.run(ctx, b)
		err = errors.Join(err, w.end())
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rep.Results = append(rep.Results, results...)
		if err != nil {
			rep.Results = append(rep.Results, result{Name: c.name, What: c.doc, Error: err.Error()})
			failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	rep.Machine.LoadAfter = load()
	rep.Took = time.Since(rep.Started).Seconds()

	if err := rep.writeTable(out); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	if err := rep.writeJSON(o.json); err != nil {
		return err
	}
	return errors.Join(failed...)
}

// choose picks cases by name; an empty list is all of them.
func choose(only string) ([]benchCase, error) {
	if only == "" {
		return cases, nil
	}
	var chosen []benchCase
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(cases, func(c benchCase) bool { return c.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no case %q, only %s", name, strings.Join(caseNames(), ", "))
		}
		chosen = append(chosen, cases[i])
	}
	return chosen, nil
}

func caseNames() []string {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = c.name
	}
	return names
}

// logsOf is where the output of the processes of a world lies.
func logsOf(dir string) string { return filepath.Join(dir, "log") }
