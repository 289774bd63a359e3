//go:build !linux

package control

import "fmt"

// reach has no way round a path that is too long for a unix socket.
func reach(path string) (short string, done func(), err error) {
	if len(path) > maxPath {
		return "", nil, fmt.Errorf("the path of %s has %d bytes, a unix socket takes %d: use a shorter state directory", path, len(path), maxPath)
	}
	return path, func() {}, nil
}
