// Command p2prc is what the user types: it reads the flags, the environment
// and the config file, runs one role or prints one answer, and says how that
// went, in words and as an exit code. Not here: what a role does (package
// supervisor) and where the lists come from (package tables).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

func main() {
	survivePipes()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, os.LookupEnv))
}

// errUnread means that whoever read stdout went away, as `| head` does.
var errUnread = errors.New("stdout was closed")

// written explains the error of a write to stdout.
func written(err error) error {
	switch {
	case err == nil:
		return nil
	case isClosedPipe(err):
		return errUnread
	}
	return fmt.Errorf("writing to stdout: %w", err)
}

// run is the whole program; the result is its exit code.
func run(args []string, stdout, stderr *os.File, lookup func(string) (string, bool)) int {
	getenv := func(key string) string { value, _ := lookup(key); return value }
	say := newPrinter(stdout, stderr, getenv)
	cli, err := parse(args, lookup, os.Geteuid() == 0)
	if errors.Is(err, errHelp) {
		_, err = io.WriteString(stdout, helpFor(cli.app, err))
		err = written(err)
	} else if err == nil {
		err = cli.run(context.Background(), say, getenv)
	}
	if err != nil && !errors.Is(err, errUnread) && !errors.Is(err, errInterrupted) {
		say.fail(err)
	}
	return exitCode(err)
}

// parse reads the command line and what stands behind it. The CLI is never
// nil: help needs one.
func parse(args []string, lookup func(string) (string, bool), root bool) (*CLI, error) {
	cli := &CLI{settings: &settings{lookup: lookup, root: root, source: map[string]source{}}}
	k, err := kong.New(cli, kong.Name("p2prc"), kong.NoDefaultHelp())
	if err != nil {
		return cli, fmt.Errorf("building the grammar: %w", err)
	}
	cli.app = k.Model
	if _, err = k.Parse(asFlags(args)); err == nil || errors.Is(err, errHelp) {
		return cli, err
	}
	err = cli.settings.whence(cli.app, suggest(cli.app, missingValue(err)))
	if from := cli.settings.last; from != "" {
		err = fmt.Errorf("%s: %w", from, err)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return cli, err
	}
	return cli, usage("p2prc --help shows every flag", "%w", err)
}

// missingValue puts in words for people what kong 1.17.0 says of a flag that
// lacks its value: `--allow: expected value value but got "EOL" (<EOL>)`.
func missingValue(err error) error {
	flag, why, ok := strings.Cut(err.Error(), ": ")
	if ok && strings.HasPrefix(flag, "--") && (strings.HasPrefix(why, "missing value") ||
		strings.HasPrefix(why, "expected ") && strings.Contains(why, " value but got ")) {
		return fmt.Errorf("%s needs a value", flag)
	}
	return err
}
