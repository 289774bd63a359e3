package supervisor_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2prc/supervisor"
)

// TestLive_saysWhyItWaits, once for each mapping, of many a few, and of a reverse
// proxy that is gone.
func TestLive_saysWhyItWaits(t *testing.T) {
	l := newLive(t, nil)
	var said []supervisor.Waiting
	ask := func(maps ...supervisor.Map) {
		t.Helper()
		said = nil
		req := request(maps...)
		req.Timeout = 3 * time.Second
		req.Waits = func(w supervisor.Waiting) { said = append(said, w) }
		if rows, err := l.try(t.Context(), req); err == nil || len(rows) > 0 {
			t.Errorf("told %v, %v", rows, err)
		}
	}
	one := free(t, "one")
	ask(one, tcpEcho(t, "fine"))
	if len(said) != 1 || !slices.Equal(said[0].Reasons, []string{"nothing listens on " + one.Local.String()}) || said[0].More != 0 {
		t.Errorf("of one: %+v", said)
	}
	var many []supervisor.Map
	for i := range 40 {
		m := one
		m.Name, m.Local = fmt.Sprintf("m%d", i), netip.AddrPortFrom(one.Local.Addr(), uint16(1+i))
		many = append(many, m)
	}
	ask(many...)
	reasons, more := 0, 0
	for _, w := range said {
		reasons, more = reasons+len(w.Reasons), more+w.More
	}
	if len(said) > 3 || reasons > 9 || reasons+more != len(many) {
		t.Errorf("of %d: %+v", len(many), said)
	}
	if err := l.proxy.end(nil); err != nil {
		t.Fatal(err)
	}
	ask(tcpEcho(t, "fine"))
	if len(said) == 0 || !strings.Contains(said[0].Reasons[0], "reverse proxy") {
		t.Errorf("the proxy is gone: %+v", said)
	}
}
