package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"p2prc/tables"
)

// mappings is what a server is to map, from all who may say so. Attachments
// take it over in their own passes.
//
// A name stands for one mapping. On a running node what is there wins, and
// whoever comes later with another one under its name is refused. At the start
// --map wins over `p2prc map` of an earlier run, and so does mappings.toml: it
// is what the user says now. What is outdone stays in the journal, for when
// its name is free again.
type mappings struct {
	mu      sync.Mutex // guards what follows
	flags   []Map      // --map
	file    []Map      // mappings.toml
	added   []*added   // p2prc map, in the order in which they came
	names   map[string]Map
	version uint64 // rises with each change
}

// added is a mapping of `p2prc map`. It outlives a restart once a call has seen
// it proved; until then it is there for as long as somebody waits for it.
type added struct {
	Map
	kept    bool
	waiters int
}

// wantedMap is one mapping that every attachment is to have.
type wantedMap struct {
	Map
	node bool // the node's own: its port, or the canary of a protocol
	live bool // of p2prc map or mappings.toml: a refusal is no reason to end
}

// Where a mapping was declared, in the user's words.
const (
	fromMapFlag = "--map"
	fromMapFile = mapFileName
	fromMapVerb = "p2prc map"
)

// declare takes what the command line wants mapped.
func (s *server) declare(flags []Map) error {
	for _, m := range flags {
		if err := checkMapName(m.Name); err != nil {
			return fail(BadUsage, "give each mapping a name of its own: web=3000", "--map: %w", err)
		}
		if err := m.CheckDomain(); err != nil {
			return fail(BadUsage, domainHint, "--map: %w", err)
		}
	}
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	seen := make(map[string]bool)
	for _, m := range flags {
		if seen[m.Name] {
			return fail(BadUsage, "give each mapping a name of its own: web=3000", "--map: the name %q is taken", m.Name)
		}
		seen[m.Name] = true
	}
	s.flags = flags
	s.index()
	return nil
}

// readFile takes what mappings.toml wants mapped at the start.
func (s *server) readFile() error {
	file, err := readMapFiles(s.o.MapFiles)
	if err != nil {
		return err
	}
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	if err := s.takeFile(file); err != nil {
		return fail(BadUsage, "give one of them another name", "%w", err)
	}
	return nil
}

func checkMapName(name string) error {
	if err := tables.CheckName(name); err != nil {
		return err
	}
	if isOwn(name) {
		return fmt.Errorf("the name %q is taken", name)
	}
	return nil
}

const domainHint = "write app.example.org=3000/http"

// CheckDomain says what is wrong with the domain of a mapping, or that it has
// none where it should.
func (m Map) CheckDomain() error {
	if err := tables.CheckDomainOf(m.Type, m.Domain); err != nil {
		return err
	}
	switch {
	case m.Domain != "" && m.Remote != 0:
		return fmt.Errorf("%s comes with the reverse proxy's %s port, not with port %d", m.Domain, m.Type.FRP(), m.Remote)
	case tables.IsCanaryDomain(m.Domain):
		return fmt.Errorf("the domain %s is for proofs", m.Domain)
	}
	return nil
}

// takeFile replaces what mappings.toml wants; the caller holds mu. Nothing
// changes when one of its names stands for another mapping already.
func (s *server) takeFile(file []Map) error {
	for _, m := range file {
		i := slices.IndexFunc(s.flags, func(o Map) bool { return o.Name == m.Name })
		if i >= 0 && s.flags[i] != m {
			return fmt.Errorf("%s: the name %q is taken by --map", mapFileName, m.Name)
		}
		j := slices.IndexFunc(s.added, func(o *added) bool { return o.Name == m.Name })
		if j >= 0 && s.added[j].Map != m {
			return fmt.Errorf("%s: the name %q is taken by another mapping of p2prc map", mapFileName, m.Name)
		}
	}
	s.file = file
	s.index()
	return nil
}

// index makes names and a new version; the caller holds mu.
func (s *server) index() {
	s.names = make(map[string]Map, len(s.flags)+len(s.file)+len(s.added))
	for _, a := range s.added {
		s.names[a.Name] = a.Map
	}
	for _, m := range slices.Concat(s.file, s.flags) {
		s.names[m.Name] = m
	}
	s.version++
}

// remember takes the mappings up that `p2prc map` made in an earlier run.
func (s *server) remember(rows []tables.Wanted) {
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	for _, w := range rows {
		m := Map{Name: w.Name, Type: w.Type, Local: w.Local, Remote: w.Port, Domain: w.Domain}
		if other, taken := s.names[m.Name]; taken && other != m {
			s.log.Warn("a mapping of p2prc map is left out: another one has its name", "row", m.Name)
			continue
		}
		s.added = append(s.added, &added{Map: m, kept: true})
	}
	s.index()
}

// mapped is the node's own port, the canary of each other protocol that there is
// a mapping of, and what the user asked for; nil when that is what known stood for.
func (s *server) mapped(known uint64) (want []wantedMap, version uint64, err error) {
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	if s.version == known {
		return nil, known, nil
	}
	want = make([]wantedMap, 0, len(s.names)+2)
	want = append(want, wantedMap{Map: Map{Name: ownName, Type: tables.TCP}, node: true})
	canaries := map[tables.Protocol]bool{tables.TCP: true}
	seen := make(map[string]bool, len(s.names))
	take := func(m Map, live bool) error {
		if seen[m.Name] {
			return nil
		}
		seen[m.Name] = true
		if !canaries[m.Type] {
			canary, err := s.canaryOf(m.Type)
			if err != nil {
				return err
			}
			canaries[m.Type] = true
			want = append(want, wantedMap{Map: canary, node: true})
		}
		want = append(want, wantedMap{Map: m, live: live})
		return nil
	}
	for _, m := range s.flags {
		err = firstErr(err, take(m, false))
	}
	for _, m := range s.file {
		err = firstErr(err, take(m, true))
	}
	for _, a := range s.added {
		err = firstErr(err, take(a.Map, true))
	}
	return want, s.version, err
}

// canaryOf is the node's own mapping that proves the way of a protocol.
func (s *server) canaryOf(proto tables.Protocol) (m Map, err error) {
	switch proto {
	case tables.UDP:
		m = Map{Name: ownUDPName, Type: proto}
		m.Local, err = s.port.udpAddr()
	case tables.HTTP:
		m = Map{Name: ownHTTPName, Type: proto, Domain: tables.CanaryDomain(s.key.ID())}
		m.Local, err = s.port.namedAddr()
	case tables.HTTPS:
		m = Map{Name: ownHTTPSName, Type: proto, Domain: tables.CanaryDomain(s.key.ID())}
		m.Local, err = s.port.namedAddr()
	default:
		err = fmt.Errorf("%q is not a protocol", proto)
	}
	return m, err
}

func firstErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// wants reports whether a mapping of that name is to be there.
func (s *server) wants(name string) bool {
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	_, ok := s.names[name]
	return ok || isOwn(name)
}

// origin says who wants the mapping of that name; the caller holds mu.
func (s *server) origin(name string) string {
	named := func(m Map) bool { return m.Name == name }
	switch {
	case slices.ContainsFunc(s.flags, named):
		return fromMapFlag
	case slices.ContainsFunc(s.file, named):
		return fromMapFile
	}
	return fromMapVerb
}

// same reports whether m is what w asks for. Where the node's own port leads is
// not the user's to say.
func (m *mapping) same(w wantedMap) bool {
	if w.node && w.Type == tables.TCP {
		return m.node && m.Type == w.Type
	}
	return m.node == w.node && m.Map == w.Map
}

// claim adds what a call wants mapped, all or nothing, and returns each as it
// is in the list: one that is there already, under this name or, where the user
// gave none, under any, is that one.
func (s *server) claim(specs []MapSpec) ([]Map, error) {
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	type end struct {
		proto         tables.Protocol
		local, domain string
	}
	byLocal := make(map[end]Map)
	if slices.ContainsFunc(specs, func(m MapSpec) bool { return !m.Named }) {
		for _, m := range s.names {
			byLocal[end{m.Type, m.Local.String(), m.Domain}] = m
		}
	}
	byName := make(map[string]*added, len(s.added))
	for _, a := range s.added {
		byName[a.Name] = a
	}
	maps := make([]Map, len(specs))
	var fresh []*added
	asked := make(map[string]Map, len(specs))
	for i, spec := range specs {
		m := spec.Map
		if err := checkMapName(m.Name); err != nil {
			return nil, fail(BadUsage, "write a name such as web", "%w", err)
		}
		if err := m.CheckDomain(); err != nil {
			return nil, fail(BadUsage, domainHint, "%w", err)
		}
		if !spec.Named {
			o, ok := byLocal[end{m.Type, m.Local.String(), m.Domain}]
			if ok && (m.Remote == 0 || m.Remote == o.Remote) {
				m = o
			}
		}
		if o, ok := asked[m.Name]; ok && o != m {
			return nil, fail(BadUsage, "give one of them another name, such as NAME=22", "two mappings have the name %s", m.Name)
		}
		if o, ok := s.names[m.Name]; ok && o != m {
			if m.Remote == 0 && o.Type == m.Type && o.Local == m.Local && o.Domain == m.Domain {
				m = o // any port will do, and it has one
			} else {
				from := s.origin(m.Name)
				hint := "give it another name with --name"
				if from == fromMapVerb {
					hint += ", or first run p2prc unmap " + m.Name
				}
				return nil, fail(Other, hint, "the name %s is taken by a mapping of %s (%s)", m.Name, o, from)
			}
		} else if !ok && asked[m.Name] == (Map{}) {
			a := &added{Map: m}
			fresh = append(fresh, a)
			byName[m.Name] = a
		}
		asked[m.Name] = m
		maps[i] = m
	}
	for name := range asked {
		if a := byName[name]; a != nil {
			a.waiters++
		}
	}
	if len(fresh) > 0 {
		s.added = append(s.added, fresh...)
		s.index()
	}
	return maps, nil
}

// unclaim ends a call's interest in mappings: those that nobody else waits for
// and that were never kept are taken back. It returns the version to wait for.
func (s *server) unclaim(maps []Map) (version uint64, changed bool) {
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	mine := make(map[Map]bool, len(maps))
	for _, m := range maps {
		mine[m] = true
	}
	before := len(s.added)
	s.added = slices.DeleteFunc(s.added, func(a *added) bool {
		if !mine[a.Map] {
			return false
		}
		a.waiters--
		return a.waiters <= 0 && !a.kept
	})
	if len(s.added) == before {
		return s.version, false
	}
	s.index()
	return s.version, true
}

// keep makes mappings outlive a restart: durable when it returns nil.
func (s *server) keep(maps []Map) error {
	s.journaling.Lock()
	defer s.journaling.Unlock()
	s.mappings.mu.Lock()
	asked := make(map[Map]bool, len(maps))
	for _, m := range maps {
		asked[m] = true
	}
	var b tables.Batch
	var fresh []*added
	for _, a := range s.added {
		if asked[a.Map] && !a.kept {
			fresh = append(fresh, a)
			b.Wanted = append(b.Wanted, tables.Wanted{Name: a.Name, Type: a.Type, Local: a.Local, Port: a.Remote, Domain: a.Domain})
		}
	}
	s.mappings.mu.Unlock()
	if err := s.store.Commit(b); err != nil {
		return stateFailure(fmt.Errorf("remembering the mappings: %w", err))
	}
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	for _, a := range fresh {
		a.kept = true
	}
	return nil
}

// String is the mapping as --map spells it, without its name.
func (m Map) String() string {
	var b strings.Builder
	if m.Domain != "" {
		b.WriteString(m.Domain + "=")
	}
	b.WriteString(m.Local.String())
	if m.Remote != 0 {
		b.WriteString(":" + strconv.Itoa(int(m.Remote)))
	}
	if m.Type != tables.TCP {
		b.WriteString("/" + m.Type.FRP())
	}
	return b.String()
}
