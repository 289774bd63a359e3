package tables

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"p2prc/tables/atomicfile"
)

const (
	journalName = "own.journal"
	tablePerm   = 0o644 // reservations are no secret either

	// A journal is rewritten when it has grown to four times what it began
	// with, so a commit pays for that a constant share. A small one is not
	// worth two more syncs.
	journalGrowth = 4
	journalFloor  = 64 << 10
)

// journal is the file that commits are appended to. Its user sees to it that
// only one goroutine is in here.
type journal struct {
	path  string
	f     *os.File
	size  int64 // what was acknowledged
	limit int64 // the size at which to rewrite it
	// unsure: what is on the disk may differ from what was acknowledged, since a
	// write could not be undone or a sync failed (after which the kernel may
	// call lost pages clean). Only a new file helps.
	unsure bool
}

// rewrite makes state the whole content, in a new file.
func (j *journal) rewrite(state []byte) error {
	if err := j.close(); err != nil && !j.unsure {
		return fmt.Errorf("closing %s: %w", j.path, err)
	}
	if err := atomicfile.Write(j.path, state, tablePerm); err != nil {
		j.limit = 2 * max(j.size, journalFloor) // not at every commit on a full disk
		if !j.unsure {
			return errors.Join(err, j.open())
		}
		return err
	}
	j.size, j.unsure = int64(len(state)), false
	j.limit = max(journalGrowth*j.size, journalFloor)
	return j.open()
}

// open continues the file; failing leaves the journal unsure, so that the next
// commit tries a new one.
func (j *journal) open() error {
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		j.unsure = true
		return fmt.Errorf("opening the journal: %w", err)
	}
	j.f = f
	return nil
}

// append makes lines durable: one write, one sync. After an error they are
// not in the journal, or the next rewrite takes them out.
func (j *journal) append(lines []byte) error {
	_, err := j.f.Write(lines)
	if err == nil {
		if err = j.f.Sync(); err == nil {
			j.size += int64(len(lines))
			return nil
		}
		j.unsure = true
	}
	// A group may be written in part: whole batches that nobody was told of
	// must not come back after a power loss.
	if cmp.Or(j.f.Truncate(j.size), j.f.Sync()) != nil {
		j.unsure = true
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("appending to %s: %w", j.path, err)
}

func (j *journal) close() error {
	if j.f == nil {
		return nil
	}
	f := j.f
	j.f = nil
	return f.Close()
}

// setAside keeps the file at path under a name that says when it was found
// corrupt, and returns that name. With keep the file stays where it is as well,
// so that there is never a moment without one.
func setAside(path string, now time.Time, keep bool) (string, error) {
	aside := path + ".corrupt-" + now.UTC().Format("20060102T150405Z")
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s.corrupt-%s-%d", path, now.UTC().Format("20060102T150405Z"), n)
	}
	if keep && os.Link(path, aside) == nil {
		return aside, nil
	}
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("setting the corrupt %s aside: %w", filepath.Base(path), err)
	}
	return aside, nil
}

// readJournal looks through the journal in dir; a missing one is fs.ErrNotExist.
func readJournal(dir string, visit func(*scan, line) error) (scan, error) {
	f, err := os.Open(filepath.Join(dir, journalName))
	if err != nil {
		return scan{}, err
	}
	defer f.Close()
	return scanJournal(io.Reader(f), visit)
}
