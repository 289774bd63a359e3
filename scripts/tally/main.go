// Command tally runs go test and says at the end how many tests passed, failed
// and were skipped, and of each skipped one why: go test alone shows neither
// without -v, and with it buries both.
//
//	go run ./scripts/tally -race ./...
//
// Its arguments are those of go test, its exit code too.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

func main() {
	code, err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "tally: error: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func run(args []string, stdout, stderr io.Writer) (code int, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	t := tally{out: stdout, pending: make(map[test][]string)}
	read := t.read(pipe)
	err = cmd.Wait()
	if read != nil {
		return 0, read
	}
	t.close()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// event is one line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

type test struct{ pkg, name string }

// tally counts results. What a test printed is kept until it is clear whether
// anybody wants to read it.
type tally struct {
	out     io.Writer
	pending map[test][]string
	skipped []string

	passed, failed int
}

func (t *tally) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(t.out, "%s", line) // go itself, before the tests
			} else {
				t.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading what go test says: %w", err)
		}
	}
}

func (t *tally) take(e event) {
	id := test{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(t.out, e.Output)
	case e.Action == "output" && e.Test == "":
		if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "?") {
			fmt.Fprint(t.out, e.Output)
		}
	case e.Action == "output":
		t.pending[id] = append(t.pending[id], e.Output)
	case e.Test == "":
		// The package's own line was printed above.
	case e.Action == "pass":
		t.passed++
		delete(t.pending, id)
	case e.Action == "fail":
		t.failed++
		fmt.Fprint(t.out, strings.Join(t.pending[id], ""))
		delete(t.pending, id)
	case e.Action == "skip":
		t.skipped = append(t.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(t.pending[id])))
		delete(t.pending, id)
	}
}

// close counts and prints what is left: tests that were under way when their
// process died. A test says "=== RUN" first, so each has left something.
func (t *tally) close() {
	for id, lines := range t.pending {
		t.failed++
		fmt.Fprintf(t.out, "--- UNFINISHED: %s %s\n%s", id.pkg, id.name, strings.Join(lines, ""))
	}
	for _, s := range t.skipped {
		fmt.Fprintf(t.out, "skipped: %s\n", s)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, len(t.skipped))
}

var at = regexp.MustCompile(`^\s+\S+_test\.go:\d+: `)

// reason is what the test said when it was skipped.
func reason(lines []string) string {
	for _, line := range lines {
		if at.MatchString(line) {
			return strings.TrimSpace(at.ReplaceAllString(line, ""))
		}
	}
	return "it does not say why"
}
