package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"p2prc/tables/atomicfile"
)

// seedsFile holds the nodes that the user named (private/).
const seedsFile = "seeds.json"

const seedsFormat = 1

type seedFile struct {
	Format int    `json:"format"`
	Seeds  []Seed `json:"seeds"`
}

func loadSeeds(path string) ([]Seed, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the servers that were added: %w", err)
	}
	var f seedFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("reading the servers that were added in %s: %w", path, err)
	}
	if f.Format != seedsFormat {
		return nil, fmt.Errorf("reading the servers that were added in %s: format %d, this p2prc reads %d", path, f.Format, seedsFormat)
	}
	return f.Seeds, nil
}

// Add remembers, durably, a node that the user named.
func (d *Discovery) Add(s Seed) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.added, s) {
		return nil
	}
	next := append(slices.Clone(d.added), s)
	b, err := json.MarshalIndent(seedFile{Format: seedsFormat, Seeds: next}, "", " ")
	if err == nil {
		err = atomicfile.Write(d.o.Dir.Private(seedsFile), append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("remembering %s: %w", s, err)
	}
	d.added = next
	return nil
}
