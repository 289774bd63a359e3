package mesh

import (
	"crypto/sha256"
	"sync"
)

// maxSeen is how many records are remembered, once or twice.
const maxSeen = 4096

// seen remembers the records that were news once: each comes again from most
// members, and need not be judged again.
type seen struct {
	mu       sync.Mutex // guards what follows
	now, old map[[sha256.Size]byte]struct{}
}

func newSeen() *seen { return &seen{now: map[[sha256.Size]byte]struct{}{}} }

func (s *seen) add(raw []byte) {
	sum := sha256.Sum256(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.now) >= maxSeen {
		s.now, s.old = map[[sha256.Size]byte]struct{}{}, s.now
	}
	s.now[sum] = struct{}{}
}

func (s *seen) has(raw []byte) bool {
	sum := sha256.Sum256(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, now := s.now[sum]
	_, old := s.old[sum]
	return now || old
}
