package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"p2prc/tables"
	"p2prc/tables/atomicfile"
	"p2prc/tables/identity"
)

// memoryPause is between two writes of the memory: with ten thousand leases
// one takes 50 ms.
const memoryPause = time.Second

// memoryFormat is the newest memory file this program reads.
const memoryFormat = 1

// memory is what a node keeps of the reverse proxies that let it in
// (private/proxies.json): the pin to check, and the signed leases that a proxy
// which lost its tables still honours.
type memory struct {
	path string

	log     *slog.Logger
	due     chan struct{} // has room for one: something is to be written
	writing sync.Mutex    // orders the writes

	mu      sync.Mutex // guards what follows
	proxies []remembered
	stale   bool // not all of it is on disk
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

func loadMemory(path string, log *slog.Logger) (*memory, error) {
	m := &memory{path: path, log: log, due: make(chan struct{}, 1)}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the known reverse proxies: %w", err)
	}
	var f memoryFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, &tables.UnusableError{
			Path: path, Err: fmt.Errorf("it is corrupt: %w", err),
			Hint: "move it away: p2prc then pins its reverse proxies anew, so give it the join string once more",
		}
	}
	if f.Format != memoryFormat {
		return nil, fmt.Errorf("reading the known reverse proxies in %s: format %d, this p2prc reads %d", path, f.Format, memoryFormat)
	}
	m.proxies = f.Proxies
	return m, nil
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
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	old := m.proxies
	m.replace(p)
	m.mu.Unlock()
	err := m.write()
	if err != nil {
		m.mu.Lock()
		m.proxies = old
		m.mu.Unlock()
	}
	return err
}

// keepSoon remembers p at once in memory, and within a second of Serve on disk.
func (m *memory) keepSoon(p remembered) {
	m.mu.Lock()
	m.replace(p)
	m.stale = true
	m.mu.Unlock()
	select {
	case m.due <- struct{}{}:
	default:
	}
}

// replace takes p in; the caller holds mu.
func (m *memory) replace(p remembered) {
	next := slices.DeleteFunc(slices.Clone(m.proxies), func(o remembered) bool { return o.Host == p.Host && o.Port == p.Port })
	m.proxies = append(next, p)
}

// Serve writes what keepSoon was given, until ctx ends.
func (m *memory) Serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.due:
		}
		if err := m.flush(); err != nil {
			m.log.Warn("remembering the leases", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(memoryPause):
		}
	}
}

// flush writes what is not on disk yet.
func (m *memory) flush() error {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	stale := m.stale
	m.mu.Unlock()
	if !stale {
		return nil
	}
	return m.write()
}

// write puts all of it on disk; the caller holds writing.
func (m *memory) write() (err error) {
	m.mu.Lock()
	next := m.proxies
	m.stale = false
	m.mu.Unlock()
	defer func() {
		if err != nil {
			m.mu.Lock()
			m.stale = true
			m.mu.Unlock()
		}
	}()
	b, err := json.MarshalIndent(memoryFile{Format: memoryFormat, Proxies: next}, "", " ")
	if err != nil {
		return fmt.Errorf("writing the known reverse proxies: %w", err)
	}
	if err := atomicfile.Write(m.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the known reverse proxies: %w", err)
	}
	return nil
}

// byName are the leases by the name of their mapping.
func (r remembered) byName() map[string]kept {
	leases := make(map[string]kept, len(r.Leases))
	for _, k := range r.Leases {
		leases[k.Name] = k
	}
	return leases
}
