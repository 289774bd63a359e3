//go:build !windows

package tables

import (
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func init() { children["disk"] = diskChild }

// TestFullDisk runs in a process of its own with a limit on the size of files
// (RLIMIT_FSIZE): as on a full disk, a write ends somewhere in the middle.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	cmd, in, out := startChild(t, "disk", t.TempDir())
	in.Close()
	var said []string
	for out.Scan() {
		said = append(said, out.Text())
	}
	if err := cmd.Wait(); err != nil || strings.Join(said, "\n") != "all is well" {
		t.Errorf("%v, %q", err, said)
	}
}

func limitFiles(size uint64) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
		return err
	}
	l.Cur = min(size, l.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l)
}

func diskChild(args []string) (err error) {
	signal.Ignore(syscall.SIGXFSZ)
	dir, err := OpenDir(args[0])
	if err != nil {
		return err
	}
	var log logged
	s, err := Open(dir, Options{Log: log.logger()})
	if err != nil {
		return err
	}
	if err := s.Commit(Batch{Mappings: []Mapping{aMapping(0)}, Reservations: []Reservation{aReservation(0)}}); err != nil {
		return err
	}
	before := rows(s)

	// Every size between "not a byte more" and "all but the last byte".
	size := uint64(s.journal.size)
	batch := Batch{Mappings: []Mapping{aMapping(1)}, Reservations: []Reservation{aReservation(1)}}
	changes, err := s.changes(batch)
	if err != nil {
		return err
	}
	var grows uint64
	for i, c := range changes {
		grows += uint64(len(appendLine(nil, uint64(3+i), i == 0, c.kind, s.now(), c.row)))
	}
	for n := size; n < size+grows-20; n += 37 {
		if err := limitFiles(n); err != nil {
			return err
		}
		err := s.Commit(batch)
		if e := limitFiles(1 << 40); e != nil {
			return e
		}
		if !errors.Is(err, syscall.EFBIG) || !strings.HasPrefix(err.Error(), "appending to "+s.journal.path) {
			return fmt.Errorf("limit %d: the commit says %v", n, err)
		}
		if diff := cmp.Diff(before, rows(s), exact); diff != "" {
			return fmt.Errorf("limit %d: memory changed: %s", n, diff)
		}
		if got := uint64(s.journal.size); got != size {
			return fmt.Errorf("limit %d: the journal has %d bytes, not %d", n, got, size)
		}
		v, err := ReadMappings(dir.Path(), t0)
		if err != nil || len(v.Rows) != 1 || v.Rows[0] != aMapping(0) {
			return fmt.Errorf("limit %d: a view has %+v, %w", n, v, err)
		}
	}
	if err := s.Commit(batch); err != nil {
		return fmt.Errorf("with space again: %w", err)
	}

	// No room for the table files: the views keep what was written last, and it
	// is said once.
	if err := limitFiles(100); err != nil {
		return err
	}
	m := aMapping(0)
	m.State, m.Reason = Down, "noted on a full disk"
	s.Note(Batch{Mappings: []Mapping{m}}) // is written at once: the row was up
	s.Flush()
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || strings.Count(got, "level=DEBUG") != 1 {
		return fmt.Errorf("logged %s", got)
	}
	if v, err := ReadMappings(dir.Path(), t0); err != nil || len(v.Rows) != 2 {
		return fmt.Errorf("a view has %+v, %w", v, err)
	}

	// A sync that failed leaves the journal unsure: it is written anew.
	s.journal.unsure = true
	many := Batch{Mappings: []Mapping{aMapping(10), aMapping(11), aMapping(12)}}
	if err := s.Commit(many); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("no room for a new journal: the commit says %v", err)
	}
	if err := limitFiles(1 << 40); err != nil {
		return err
	}
	if err := s.Commit(many); err != nil {
		return err
	}
	if !strings.Contains(log.String(), "up to date again") {
		return fmt.Errorf("logged %s", log.String())
	}
	want := rows(s)
	if len(want.Mappings) != 5 {
		return fmt.Errorf("%d mappings", len(want.Mappings))
	}
	if err := s.Close(true); err != nil {
		return err
	}
	if s, err = Open(dir, Options{}); err != nil {
		return err
	}
	if diff := cmp.Diff(want, rows(s), exact); diff != "" {
		return fmt.Errorf("after a restart: %s", diff)
	}
	fmt.Println("all is well")
	return errors.Join(s.Close(false), dir.Close())
}
