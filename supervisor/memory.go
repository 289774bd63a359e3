package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"p2prc/tables/atomicfile"
	"p2prc/tables/identity"
)

// memoryFormat is the newest memory file this program reads.
const memoryFormat = 1

// memory is what a node keeps of the reverse proxies that let it in
// (private/proxies.json): the pin to check, and the signed leases that a proxy
// which lost its tables still honours.
type memory struct {
	path string

	mu      sync.Mutex // guards proxies, and orders the writes
	proxies []remembered
}

type remembered struct {
	Host   string      `json:"host"`
	Port   uint16      `json:"port"`
	Pin    identity.ID `json:"pin"`
	Leases []kept      `json:"leases,omitempty"`
}

// kept is the last lease of one mapping.
type kept struct {
	Name   string `json:"name"`
	Port   uint16 `json:"port"`
	Signed []byte `json:"signed"`
	// LocalPort is where the node's own port was served; 0 for other mappings.
	LocalPort uint16 `json:"local_port,omitempty"`
}

type memoryFile struct {
	Format  int          `json:"format"`
	Proxies []remembered `json:"proxies"`
}

func loadMemory(path string) (*memory, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &memory{path: path}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the known reverse proxies: %w", err)
	}
	var f memoryFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("reading the known reverse proxies in %s: %w", path, err)
	}
	if f.Format != memoryFormat {
		return nil, fmt.Errorf("reading the known reverse proxies in %s: format %d, this p2prc reads %d", path, f.Format, memoryFormat)
	}
	return &memory{path: path, proxies: f.Proxies}, nil
}

// at is what is known of the proxy that is dialled there; the zero value if
// it never let this node in.
func (m *memory) at(host string, port uint16) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.proxies {
		if p.Host == host && p.Port == port {
			return p
		}
	}
	return remembered{Host: host, Port: port}
}

// knows reports whether that proxy ever let this node in, wherever it was.
func (m *memory) knows(id identity.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.proxies, func(p remembered) bool { return p.Pin == id })
}

// keep remembers p, durably, in place of what was known at that address.
func (m *memory) keep(p remembered) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(m.proxies), func(o remembered) bool { return o.Host == p.Host && o.Port == p.Port })
	next = append(next, p)
	b, err := json.MarshalIndent(memoryFile{Format: memoryFormat, Proxies: next}, "", " ")
	if err != nil {
		return fmt.Errorf("writing the known reverse proxies: %w", err)
	}
	if err := atomicfile.Write(m.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the known reverse proxies: %w", err)
	}
	m.proxies = next
	return nil
}

// lease is the last one under that name.
func (r remembered) lease(name string) kept {
	i := slices.IndexFunc(r.Leases, func(k kept) bool { return k.Name == name })
	if i < 0 {
		return kept{}
	}
	return r.Leases[i]
}
