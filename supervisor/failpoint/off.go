//go:build !failpoint

package failpoint

// Hit does nothing in a usual build.
func Hit(string) {}
