package child

import (
	"context"
	"encoding/json"
	"os"
	"slices"

	"p2prc/tables/atomicfile"
)

// VersionCache remembers the versions of unchanged binaries, which saves a
// start the 10 ms (much more from a cold disk) of asking. A cache that cannot
// be read or written is no error: the binary is asked.
type VersionCache struct{ File string }

type cachedVersion struct {
	Path    string  `json:"path"`
	Binary  Stamp   `json:"binary"`
	Version Version `json:"version"`
}

const maxCached = 8 // frps and frpc, and some that were tried once

// VersionOf is the function of the same name.
func (c VersionCache) VersionOf(ctx context.Context, path string) (Version, error) {
	known := c.read()
	now, statErr := stampOf(path)
	same := func(v cachedVersion) bool { return v.Path == path }
	if i := slices.IndexFunc(known, same); i >= 0 && statErr == nil && known[i].Binary.equal(now) {
		return known[i].Version, known[i].Version.check(path)
	}
	v, err := VersionOf(ctx, path)
	if err == nil && statErr == nil {
		known = append(slices.DeleteFunc(known, same), cachedVersion{path, now, v})
		c.write(known[max(0, len(known)-maxCached):])
	}
	return v, err
}

func (c VersionCache) read() []cachedVersion {
	b, err := os.ReadFile(c.File)
	if err != nil {
		return nil
	}
	var known []cachedVersion
	if json.Unmarshal(b, &known) != nil {
		return nil
	}
	return known
}

func (c VersionCache) write(known []cachedVersion) {
	if b, err := json.Marshal(known); err == nil {
		_ = atomicfile.Write(c.File, append(b, '\n'), 0o600) // see VersionCache
	}
}
