package supervisor

import (
	"sync"

	"p2prc/tables"
)

// mappings is what a server is to map, as its user last said. Attachments take
// it over in their own passes.
type mappings struct {
	mu      sync.Mutex // guards what follows
	user    []Map
	version uint64 // rises with each change
}

// wantedMap is one mapping that every attachment is to have.
type wantedMap struct {
	Map
	node bool // the node's own: its port, or the canary of a protocol
}

// declare replaces what the user wants mapped.
func (s *server) declare(maps []Map) error {
	seen := map[string]bool{ownName: true, ownUDPName: true}
	for _, m := range maps {
		if err := tables.CheckName(m.Name); err != nil {
			return fail(BadUsage, "", "--map: %w", err)
		}
		if seen[m.Name] {
			return fail(BadUsage, "give each mapping a name of its own: web=3000", "--map: the name %q is taken", m.Name)
		}
		seen[m.Name] = true
	}
	s.mappings.mu.Lock()
	defer s.mappings.mu.Unlock()
	s.user = maps
	s.version++
	return nil
}

// mapped is the node's own port, the UDP canary where there is a UDP mapping,
// and what the user asked for.
func (s *server) mapped() (want []wantedMap, version uint64, err error) {
	s.mappings.mu.Lock()
	user, version := s.user, s.version
	s.mappings.mu.Unlock()
	want = append(want, wantedMap{Map{Name: ownName, Type: tables.TCP}, true})
	udp := false
	for _, m := range user {
		if m.Type == tables.UDP && !udp {
			udp = true
			local, err := s.port.udpAddr()
			if err != nil {
				return nil, 0, err
			}
			want = append(want, wantedMap{Map{Name: ownUDPName, Type: tables.UDP, Local: local}, true})
		}
		want = append(want, wantedMap{Map: m})
	}
	return want, version, nil
}

// same reports whether m is what w asks for. Where the node's own port leads is
// not the user's to say.
func (m *mapping) same(w wantedMap) bool {
	if w.node && w.Type == tables.TCP {
		return m.node && m.Type == w.Type
	}
	return m.node == w.node && m.Map == w.Map
}
