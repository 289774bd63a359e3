package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"p2prc/tables"
)

// takeBack bounds how long a call waits until what it dropped is gone. It is
// gone from the list at once; a proxy that does not answer only delays the rest.
const takeBack = 10 * time.Second

// MapSpec is one mapping that a call asks for.
type MapSpec struct {
	Map
	Named bool `json:"named"` // by the user; else one that leads to the same service is it
}

// MapRequest asks for mappings: each is proved, or the call fails.
type MapRequest struct {
	Maps    []MapSpec     `json:"maps"`
	Partial bool          `json:"partial"` // keep those that work where some do not
	Timeout time.Duration `json:"timeout"`

	Waits func(Waiting) `json:"-"` // told why it takes longer; nil: nobody is
}

// LiveRow is one mapping as a call is told of it.
type LiveRow struct {
	tables.Mapping
	Map Map `json:"map"` // as it was asked for
}

// mapLive adds mappings and tells of each once it is proved and will outlive a
// restart. Without Partial nothing is told before all of them are: an address
// that was printed is not taken back. What was not told when the call ends, by
// a failure or because the caller went away, is taken back.
func (s *server) mapLive(ctx context.Context, req MapRequest, tell func(any) error) (err error) {
	if len(req.Maps) == 0 {
		return fail(BadUsage, "", "nothing to map")
	}
	maps, err := s.claim(req.Maps)
	if err != nil {
		return err
	}
	s.pokeAll()
	defer func() {
		version, changed := s.unclaim(maps)
		if !changed {
			return
		}
		s.pokeAll()
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBack)
		defer cancel()
		s.awaitPass(wait, version)
	}()
	if err := s.awaitStore(ctx); err != nil {
		return err
	}
	patience := newPatience(req.Timeout)
	defer patience.stop()
	delay := newDelay(tell)
	pending := slices.Clone(maps)
	var proved []*post
	for {
		next := s.board.next()
		up, late := s.sort(&pending)
		proved = append(proved, up...)
		refused := firstRefused(late)
		if len(proved) > 0 && (req.Partial || len(pending) == 0) {
			if err := s.keepAndTell(proved, tell); err != nil {
				return err
			}
			proved = proved[:0]
		}
		switch {
		case len(pending) == 0:
			return nil
		case s.struck(pending) != "":
			return fail(Other, "", "%s was unmapped before it was up", s.struck(pending))
		case refused != nil && !req.Partial:
			return failPending(refused, len(maps)-len(pending), len(maps), 0)
		case patience.over:
			return failPending(s.worst(pending), len(maps)-len(pending), len(maps), req.Timeout)
		case len(late) == 0:
			late = append(late, s.worst(pending))
		}
		if err := delay.over(late); err != nil {
			return err
		}
		if err := patience.wait(ctx, next); err != nil {
			return err
		}
	}
}

// sort takes those that are up out of pending, and gives the posts of the others
// as well.
func (s *server) sort(pending *[]Map) (up, late []*post) {
	*pending = slices.DeleteFunc(*pending, func(m Map) bool {
		p := s.board.look(m)
		switch {
		case p.up():
			up = append(up, p)
			return true
		case p != nil:
			late = append(late, p)
		}
		return false
	})
	return up, late
}

// firstRefused is the first that the reverse proxy refused, or nil. One that stands
// by is not waited for either.
func firstRefused(late []*post) *post {
	i := slices.IndexFunc(late, func(p *post) bool { return p.refused && !p.row.Standby })
	if i < 0 {
		return nil
	}
	return late[i]
}

// struck is one of the mappings that is not wanted any more, if any.
func (s *server) struck(pending []Map) string {
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	for _, m := range pending {
		if s.names[m.Name] != m {
			return m.Name
		}
	}
	return ""
}

func (s *server) keepAndTell(proved []*post, tell func(any) error) error {
	maps := make([]Map, len(proved))
	for i, p := range proved {
		maps[i] = p.Map
	}
	if err := s.keep(maps); err != nil {
		return err
	}
	for _, p := range proved {
		if err := tell(LiveRow{Mapping: p.row, Map: p.Map}); err != nil {
			return err
		}
	}
	return nil
}

// worst is the mapping to blame: the first of those that are not up.
func (s *server) worst(pending []Map) *post {
	for _, m := range pending {
		if p := s.board.look(m); p != nil {
			return p
		}
	}
	return &post{Map: pending[0], row: tables.Mapping{Name: pending[0].Name, Reason: s.waitsFor()}, kind: TimedOut}
}

// waitsFor says why no attachment has looked at a mapping yet.
func (s *server) waitsFor() string {
	all := s.standing.all()
	for _, a := range all {
		if reason := a.linkReason(); reason != "" {
			return reason
		}
	}
	if len(all) == 0 {
		return "p2prc is still starting"
	}
	return notLooked
}

// notLooked is why a mapping waits that the pass which is under way is about.
const notLooked = "not yet looked at"

// failPending says why a call did not get what it asked for. Only some reasons
// have a code of their own: the others may heal by themselves.
func failPending(p *post, done, all int, timeout time.Duration) error {
	kind := TimedOut
	if slices.Contains([]Kind{NoPort, Refused, NotReachable, NothingListens, StateUnusable}, p.kind) {
		kind = p.kind
	}
	hint := map[Kind]string{
		NothingListens: "start the service, or map the port that it listens on",
		StateUnusable:  noRoomHint,
		NotReachable:   "look at the firewall of the reverse proxy's host",
	}[kind]
	if kind == NoPort && p.Remote != 0 {
		hint = "leave the port out to get a free one"
	}
	text := fmt.Sprintf("%s is not up: %s", p.Name, cmp.Or(p.row.Reason, notLooked))
	if p.row.State == tables.Up {
		text = p.Name + " is up only at a reverse proxy that stands by"
	}
	if timeout > 0 {
		text += fmt.Sprintf(" (waited %v)", timeout)
	}
	if all > 1 {
		text += fmt.Sprintf("; %d of %d are up", done, all)
	}
	return fail(kind, hint, "%s", text)
}

// UnmapRequest names mappings to drop.
type UnmapRequest struct {
	Names []string `json:"names"` // of mappings, domains, local or public ports, FIRST-LAST of ports, each with /udp or not
	All   bool     `json:"all"`   // every one of p2prc map
}

// UnmapReply is what was dropped, and what stays because it was declared
// elsewhere.
type UnmapReply struct {
	Dropped []string `json:"dropped"`
	Kept    []string `json:"kept,omitempty"` // with All: of --map and mappings.toml
	Done    bool     `json:"done"`           // every reverse proxy has let go of them
}

// unmapLive drops mappings for good: durable before the answer, and gone from
// the tables and from frpc unless a proxy keeps it waiting.
func (s *server) unmapLive(ctx context.Context, req UnmapRequest) (UnmapReply, error) {
	if err := s.awaitStore(ctx); err != nil {
		return UnmapReply{}, err
	}
	reply, version, err := s.strike(req)
	if err != nil || len(reply.Dropped) == 0 {
		reply.Done = true
		return reply, err
	}
	s.pokeAll()
	wait, cancel := context.WithTimeout(ctx, takeBack)
	defer cancel()
	reply.Done = s.awaitPass(wait, version)
	return reply, nil
}

// strike takes mappings off the list and out of the journal.
func (s *server) strike(req UnmapRequest) (reply UnmapReply, version uint64, err error) {
	s.journaling.Lock() // what the journal says and what the list says change together
	defer s.journaling.Unlock()
	s.mappings.mu.Lock()
	gone, err := s.meant(req)
	for name := range s.names {
		if req.All && !gone[name] {
			reply.Kept = append(reply.Kept, name)
		}
	}
	var b tables.Batch
	for _, a := range s.added {
		if gone[a.Name] {
			reply.Dropped = append(reply.Dropped, a.Name)
			if a.kept {
				b.DropWanted = append(b.DropWanted, a.Name)
			}
		}
	}
	s.mappings.mu.Unlock()
	slices.Sort(reply.Kept)
	if err != nil {
		return UnmapReply{}, 0, err
	}
	if err := s.store.Commit(b); err != nil {
		return UnmapReply{}, 0, stateFailure(fmt.Errorf("forgetting the mappings: %w", err))
	}
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	s.added = slices.DeleteFunc(s.added, func(a *added) bool { return gone[a.Name] })
	s.index()
	s.board.wake() // calls may wait for one of them
	return reply, s.version, nil
}

// meant resolves the names and ports of a call; the caller holds mu.
func (s *server) meant(req UnmapRequest) (map[string]bool, error) {
	gone := make(map[string]bool)
	if req.All {
		for _, a := range s.added {
			if s.origin(a.Name) == fromMapVerb {
				gone[a.Name] = true
			}
		}
		return gone, nil
	}
	for _, text := range req.Names {
		found := s.named(text)
		if len(found) == 0 {
			return nil, fail(Other, "p2prc status lists the mappings", "there is no mapping %q", text)
		}
		for _, name := range found {
			switch from := s.origin(name); from {
			case fromMapFlag:
				return nil, fail(Other, "start p2prc without it", "%s was declared by --map", name)
			case fromMapFile:
				return nil, fail(Other, "take it out there, then run p2prc reload", "%s is declared in %s", name, mapFileName)
			}
			gone[name] = true
		}
	}
	return gone, nil
}

// named are the mappings that the user means by a name, by a domain, by a port on
// either side, or by a range of them; the caller holds mu.
func (s *server) named(text string) []string {
	if _, ok := s.names[text]; ok {
		return []string{text}
	}
	ports, proto, _ := strings.Cut(text, "/")
	r, err := tables.ParsePortRange(ports)
	if err != nil {
		return s.ofDomain(text)
	}
	var local, public []string
	for name, m := range s.names {
		if proto != "" && proto != m.Type.FRP() {
			continue
		}
		if r.Contains(m.Local.Port()) {
			local = append(local, name)
		}
		if p := s.board.look(m); p != nil && m.Domain == "" && r.Contains(p.row.BindPort) {
			public = append(public, name)
		}
	}
	if len(local) > 0 { // as in p2prc map
		return local
	}
	return public
}

// ofDomain are the mappings of a domain; the caller holds mu.
func (s *server) ofDomain(domain string) (names []string) {
	for name, m := range s.names {
		if domain != "" && m.Domain == domain {
			names = append(names, name)
		}
	}
	return names
}

// pokeAll makes every attachment look at the list now.
func (s *server) pokeAll() {
	for _, a := range s.standing.all() {
		a.poke()
	}
}

// awaitPass waits until every attachment has taken the version over.
func (s *server) awaitPass(ctx context.Context, version uint64) bool {
	for {
		next := s.board.next()
		if s.board.passed(version) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-next:
		}
	}
}

// awaitStore waits until the tables are open: a start reads them first of all.
func (s *server) awaitStore(ctx context.Context) error {
	select {
	case <-s.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
