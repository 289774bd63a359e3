// Package nodes remembers which nodes a reverse proxy has let in, and which
// ones knock. Not here: what a node may listen on (tables/lease), how it
// proves who it is (tables/identity, tables/peerapi).
package nodes

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"p2prc/tables/atomicfile"
	"p2prc/tables/identity"
)

// How a node was let in.
const (
	ByToken = "token" // it proved the token
	ByAllow = "allow" // the operator allowed it
	ByOpen  = "open"  // the proxy lends to anyone
)

// A knock is kept for knockLife, and at most maxKnocks of them: a stranger
// can make keys faster than an operator can read.
const (
	maxKnocks = 32
	knockLife = 10 * time.Minute
)

// formatVersion is the newest file this program reads.
const formatVersion = 1

// Node is one node that was let in, or shut out.
type Node struct {
	ID         identity.ID `json:"id"`
	Name       string      `json:"name"`
	How        string      `json:"how"`
	Since      time.Time   `json:"since"`
	Revoked    time.Time   `json:"revoked,omitzero"`
	Credential Credential  `json:"credential"`
}

// Credential is what a node shows frps at login; the gate checks it. It
// prints as [hidden].
type Credential string

func (Credential) String() string   { return "[hidden]" }
func (Credential) GoString() string { return "[hidden]" }

// Knock is a node that waits to be allowed.
type Knock struct {
	ID   identity.ID `json:"id"`
	Name string      `json:"name"`
	From netip.Addr  `json:"from"`
	At   time.Time   `json:"at"`
}

// Registry is the file of nodes and the knocks of the last minutes. All its
// methods may be called at once.
type Registry struct {
	path string
	now  func() time.Time

	mu     sync.Mutex // guards the rest
	nodes  map[identity.ID]Node
	knocks []Knock // oldest first
}

type file struct {
	Format int    `json:"format"`
	Nodes  []Node `json:"nodes"`
}

// Load reads the registry; a missing file is an empty one. now may be nil.
func Load(path string, now func() time.Time) (*Registry, error) {
	if now == nil {
		now = time.Now
	}
	r := &Registry{path: path, now: now, nodes: make(map[identity.ID]Node)}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the admitted nodes: %w", err)
	}
	var f file
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("reading the admitted nodes in %s: %w", path, err)
	}
	if f.Format != formatVersion {
		return nil, fmt.Errorf("reading the admitted nodes in %s: format %d, this p2prc reads %d", path, f.Format, formatVersion)
	}
	for _, n := range f.Nodes {
		r.nodes[n.ID] = n
	}
	return r, nil
}

// Lookup is what the registry knows of a node; a revoked one is known too.
func (r *Registry) Lookup(id identity.ID) (Node, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.nodes[id]
	return n, ok
}

// Admitted reports whether the node may ask for ports.
func (r *Registry) Admitted(id identity.ID) bool {
	n, ok := r.Lookup(id)
	return ok && n.Revoked.IsZero()
}

// Check reports whether credential is the one of an admitted node.
func (r *Registry) Check(id identity.ID, credential string) bool {
	n, ok := r.Lookup(id)
	return ok && n.Revoked.IsZero() &&
		subtle.ConstantTimeCompare([]byte(n.Credential), []byte(credential)) == 1
}

// Enrol lets a node in, durably, and forgets its knock. An admitted node stays
// as it is; a revoked one gets a new credential.
func (r *Registry) Enrol(id identity.ID, name, how string) (Node, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.nodes[id]; ok && n.Revoked.IsZero() {
		return n, nil
	}
	if name == "" {
		if i := slices.IndexFunc(r.knocks, func(k Knock) bool { return k.ID == id }); i >= 0 {
			name = r.knocks[i].Name
		}
	}
	n := Node{ID: id, Name: name, How: how, Since: r.now().UTC(), Credential: Credential(rand.Text())}
	if err := r.put(n); err != nil {
		return Node{}, err
	}
	r.knocks = slices.DeleteFunc(r.knocks, func(k Knock) bool { return k.ID == id })
	return n, nil
}

// ErrUnknown means that no such node was ever let in.
var ErrUnknown = errors.New("no such node was ever admitted")

// Revoke shuts a node out, durably: its token no longer helps, only Enrol does.
func (r *Registry) Revoke(id identity.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.nodes[id]
	if !ok {
		return ErrUnknown
	}
	if !n.Revoked.IsZero() {
		return nil
	}
	n.Revoked = r.now().UTC()
	return r.put(n)
}

// put saves the registry with n in it, then takes n over; mu is held.
func (r *Registry) put(n Node) error {
	f := file{Format: formatVersion, Nodes: []Node{n}}
	for id, other := range r.nodes {
		if id != n.ID {
			f.Nodes = append(f.Nodes, other)
		}
	}
	slices.SortFunc(f.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	b, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return fmt.Errorf("writing the admitted nodes: %w", err)
	}
	if err := atomicfile.Write(r.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the admitted nodes: %w", err)
	}
	r.nodes[n.ID] = n
	return nil
}

// Knock notes that an unknown node asks to be let in and reports whether that
// is news. Beyond 32 knocks the oldest is forgotten.
func (r *Registry) Knock(id identity.ID, name string, from netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.forget(now)
	i := slices.IndexFunc(r.knocks, func(k Knock) bool { return k.ID == id })
	if i >= 0 {
		r.knocks = slices.Delete(r.knocks, i, i+1)
	} else if len(r.knocks) == maxKnocks {
		r.knocks = slices.Delete(r.knocks, 0, 1)
	}
	r.knocks = append(r.knocks, Knock{ID: id, Name: name, From: from, At: now})
	return i < 0
}

// Knocks are the nodes that asked within the last ten minutes, oldest first.
func (r *Registry) Knocks() []Knock {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(r.now())
	return slices.Clone(r.knocks)
}

func (r *Registry) forget(now time.Time) {
	r.knocks = slices.DeleteFunc(r.knocks, func(k Knock) bool { return now.Sub(k.At) > knockLife })
}
