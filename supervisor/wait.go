package supervisor

import (
	"context"
	"slices"
	"time"

	"p2prc/tables"
)

// WaitRequest waits for mappings to come up, or go down.
type WaitRequest struct {
	Names   []string      `json:"names"`
	All     bool          `json:"all"`
	Down    bool          `json:"down"`
	Timeout time.Duration `json:"timeout"`

	Waits func(Waiting) `json:"-"` // told why they are not up yet; nil: nobody is
}

// wait returns once all the mappings are as wanted, and tells of each. One that
// is not there counts as down.
func (s *server) wait(ctx context.Context, req WaitRequest, tell func(any) error) error {
	patience := newPatience(req.Timeout)
	defer patience.stop()
	delay := newDelay(tell)
	for {
		next := s.board.next()
		rows, late, err := s.asWanted(req)
		switch {
		case err != nil:
			return err
		case len(late) == 0:
			for _, p := range rows {
				if err := tell(LiveRow{Mapping: p.row, Map: p.Map}); err != nil {
					return err
				}
			}
			return nil
		case patience.over && req.Down:
			return fail(TimedOut, "", "%s is still up (waited %v)", late[0].Name, req.Timeout)
		case patience.over:
			return fail(TimedOut, "", "%w", failPending(late[0], 0, 0, req.Timeout))
		case !req.Down:
			if err := delay.over(late); err != nil {
				return err
			}
		}
		if err := patience.wait(ctx, next); err != nil {
			return err
		}
	}
}

// asWanted is how the mappings stand, and those that are not yet as wanted.
func (s *server) asWanted(req WaitRequest) (rows, late []*post, err error) {
	s.mappings.mu.Lock()
	names := req.Names
	if req.All {
		names = []string{ownName}
		for name := range s.names {
			names = append(names, name)
		}
		slices.Sort(names[1:])
	}
	known := make(map[string]bool, len(names))
	for _, name := range names {
		_, ok := s.names[name]
		known[name] = ok || isOwn(name)
	}
	s.mappings.mu.Unlock()
	s.board.mu.Lock()
	defer s.board.mu.Unlock()
	for _, name := range names {
		if !known[name] && !req.Down {
			return nil, nil, fail(Other, "p2prc status lists the mappings", "there is no mapping %q", name)
		}
		p := s.board.best(name, func(*post) bool { return true })
		switch {
		case p == nil && known[name]:
			p = &post{Map: Map{Name: name}, row: tables.Mapping{Name: name, Reason: s.waitsFor()}, kind: TimedOut}
		case p == nil:
			continue
		}
		rows = append(rows, p)
		if p.up() == req.Down {
			late = append(late, p)
		}
	}
	return rows, late, nil
}
