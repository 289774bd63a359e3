//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

var (
	point, at = wanted(os.Getenv("P2PRC_FAILPOINT"))
	hits      atomic.Int64
)

// wanted reads NAME or NAME:N.
func wanted(text string) (name string, n int64) {
	name, number, ok := strings.Cut(text, ":")
	if !ok {
		return name, 1
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		panic("P2PRC_FAILPOINT is not NAME or NAME:N: " + text)
	}
	return name, n
}

// Hit ends the process if this is the moment: at once, by SIGKILL, with
// nothing flushed, closed or told.
func Hit(name string) {
	if name != point || hits.Add(1) != at {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // the signal is on its way
}
