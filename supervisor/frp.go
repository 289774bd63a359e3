package supervisor

import (
	"context"
	"fmt"

	"p2prc/supervisor/child"
	"p2prc/tables"
)

const installHint = "install frp %s or newer (scripts/install-frp.sh does it), or pass --%s PATH"

// findFRP is the absolute path of frps or frpc: as the user gave it, else from PATH.
func findFRP(name, given string) (string, error) {
	if given == "" {
		given = name
	}
	path, err := child.Lookup(given)
	if err != nil {
		return "", fail(FRPUnusable, fmt.Sprintf(installHint, child.Min, name), "%w", err)
	}
	return path, nil
}

// checkFRP runs the binary once to see that it is frp, and not too old.
func checkFRP(ctx context.Context, dir *tables.Dir, name, path string) (child.Version, error) {
	v, err := child.VersionCache{File: dir.Private("versions.json")}.VersionOf(ctx, path)
	if err != nil && ctx.Err() == nil {
		return v, fail(FRPUnusable, fmt.Sprintf(installHint, child.Min, name), "%w", err)
	}
	return v, err
}

// FRP is the frps or frpc that p2prc would run.
type FRP struct {
	Name    string
	Path    string
	Version string
	Err     error // why it cannot be used
}

// FRPVersions looks the frps and frpc up that both roles would run.
func FRPVersions(ctx context.Context, frps, frpc string) []FRP {
	var found []FRP
	for _, f := range []struct{ name, given string }{{"frps", frps}, {"frpc", frpc}} {
		got := FRP{Name: f.name}
		got.Path, got.Err = findFRP(f.name, f.given)
		if got.Err == nil {
			var v child.Version
			v, got.Err = child.VersionOf(ctx, got.Path)
			got.Version = v.String()
		}
		found = append(found, got)
	}
	return found
}

// ended tells whether the process is gone, without waiting for it.
func ended(proc *child.Process) bool {
	select {
	case <-proc.Done():
		return true
	default:
		return false
	}
}
