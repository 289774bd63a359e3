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
}

// wait returns once all the mappings are as wanted, and tells of each. One that
// is not there counts as down.
func (s *server) wait(ctx context.Context, req WaitRequest, tell func(any) error) error {
	limit := time.NewTimer(req.Timeout)
	defer limit.Stop()
	for timedOut := false; ; {
		next := s.board.next()
		rows, late, err := s.asWanted(req)
		switch {
		case err != nil:
			return err
		case late == nil:
			for _, p := range rows {
				if err := tell(LiveRow{Mapping: p.row, Map: p.Map}); err != nil {
					return err
				}
			}
			return nil
		case timedOut && req.Down:
			return fail(TimedOut, "", "%s is still up (waited %v)", late.Name, req.Timeout)
		case timedOut:
			return fail(TimedOut, "", "%w", failPending(late, 0, 0, req.Timeout))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			timedOut = true
		case <-next:
		}
	}
}

// asWanted is how the mappings stand, and one that is not yet as wanted.
func (s *server) asWanted(req WaitRequest) (rows []*post, late *post, err error) {
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
			late = p
		}
	}
	return rows, late, nil
}
