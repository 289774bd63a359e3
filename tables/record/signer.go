package record

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"p2prc/tables/atomicfile"
	"p2prc/tables/identity"
)

// floorStep is how far the floor on disk is ahead: serials follow the clock in
// milliseconds, so it is written once in ten minutes.
const floorStep = 600_000

// SignerOptions describes a Signer. Key must be set.
type SignerOptions struct {
	Key  identity.Key
	Path string // of the file that keeps serials rising over restarts; empty: none
	Now  func() time.Time
	Log  *slog.Logger
}

// Signer makes a node's own records. Every one has a higher serial than all
// before it, whatever the clock did in between.
type Signer struct {
	o  SignerOptions
	id identity.ID

	mu     sync.Mutex // guards what follows
	last   uint64     // serial
	issued time.Time  // of the last record
	floor  uint64     // on disk: no serial above it was given out
}

// NewSigner reads the floor of the serials. A floor that is lost is no harm as
// long as the clock was not set back.
func NewSigner(o SignerOptions) (*Signer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Signer{o: o, id: o.Key.ID()}
	if o.Path == "" {
		return s, nil
	}
	b, err := os.ReadFile(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if s.floor, err = decodeUint(strings.TrimSuffix(string(b), "\n"), 64); err != nil {
		o.Log.Warn("the serial of the last record is lost: the clock takes its place", "path", o.Path, "err", err)
	}
	s.last = s.floor
	return s, nil
}

// ID is the owner of what it signs.
func (s *Signer) ID() identity.ID { return s.id }

// Sign makes a record.
func (s *Signer) Sign(b Body) (*Record, error) {
	serial, issued, err := s.next()
	if err != nil {
		return nil, fmt.Errorf("signing a %s: %w", b.kind(), err)
	}
	expires := endOf(b, issued)
	msg := encode(s.id, s.o.Key.Public(), serial, issued, expires, b)
	r, err := Parse(append(msg, s.o.Key.Sign(msg)...))
	if err != nil {
		return nil, fmt.Errorf("signing a %s: %w", b.kind(), err)
	}
	return r, nil
}

// next is the serial and time of a new record. Neither goes back: what is
// taken back later would otherwise outlive its Gone.
func (s *Signer) next() (uint64, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Now()
	serial := max(s.last+1, uint64(max(now.UnixMilli(), 0)))
	if s.o.Path != "" && serial > s.floor {
		floor := serial + floorStep
		if err := atomicfile.Write(s.o.Path, fmt.Appendf(nil, "%d\n", floor), 0o600); err != nil {
			return 0, time.Time{}, err
		}
		s.floor = floor
	}
	now = now.UTC().Truncate(time.Second)
	// A clock that was far ahead is not followed: nobody would take the record.
	if ahead := s.issued.Sub(now); ahead > 0 && ahead < MaxSkew {
		now = s.issued
	}
	s.last, s.issued = serial, now
	return serial, now, nil
}

// Raise keeps the serials above those of an own record that came from
// elsewhere: from an earlier life whose files are lost.
func (s *Signer) Raise(r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last, r.Serial)
	if r.Issued.After(s.issued) {
		s.issued = r.Issued
	}
}
