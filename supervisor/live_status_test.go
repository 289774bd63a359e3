package supervisor_test

import (
	"errors"
	"strings"
	"testing"

	"p2prc/supervisor"
)

// TestLive_status says what there is, trouble first, on both sides.
func TestLive_status(t *testing.T) {
	l := newLive(t, nil, tcpEcho(t, "fine"), free(t, "nobody"))
	st, err := supervisor.StatusLive(t.Context(), l.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Trouble) != 1 || !strings.HasPrefix(st.Trouble[0], "nobody: nothing listens on ") || st.Mappings[0].Name != "nobody" || st.Mappings[0].From != "--map" {
		t.Errorf("trouble %q, first row %+v", st.Trouble, st.Mappings[0])
	}
	if c := st.Children[0]; c.PID != l.server.pid("frpc") || c.Version != l.place.version || c.Restarts != 0 {
		t.Errorf("%+v", c)
	}
	l.server.kill("frpc")
	err = supervisor.WatchLive(t.Context(), l.dir, func(st supervisor.Status) error {
		if c := st.Children[0]; c.Restarts == 1 && c.PID != 0 && c.LastError != "" {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("frpc was killed: %v", err)
	}
	st, err = supervisor.StatusLive(t.Context(), l.proxy.dir)
	if err != nil || st.Lends == nil || st.Lends.MaxPerNode != 1024 || len(st.Servers) != 1 || st.Servers[0].Name != "srv" {
		t.Errorf("the reverse proxy: %+v, %v", st, err)
	}
	// Of what never worked the proxy has no row, and of what was unmapped a
	// reservation alone.
	l.mapped(tcpEcho(t, "passing"))
	l.unmap("passing")
	st, err = supervisor.StatusLive(t.Context(), l.proxy.dir)
	if err != nil || len(st.Servers) != 1 {
		t.Fatalf("the reverse proxy: %+v, %v", st, err)
	}
	if s := st.Servers[0]; s.Mappings != 3 || s.Up != 2 || s.Reserved != 1 || s.Ports != 4 || len(st.Mappings) != 3 {
		t.Errorf("the reverse proxy lends: %+v, %v", st, err)
	}
	if len(st.Trouble) != 1 || !strings.HasPrefix(st.Trouble[0], "nobody: nothing listens on ") || st.Mappings[0].LocalAddress.Port() == 0 {
		t.Errorf("the reverse proxy: trouble %q, first row %+v", st.Trouble, st.Mappings[0])
	}
	if err := supervisor.LeaveLive(t.Context(), l.dir); err != nil {
		t.Error(err)
	}
	if err := <-l.server.done; err != nil {
		t.Errorf("left with %v", err)
	}
	l.server.once.Do(func() {})
	if _, err := supervisor.StatusLive(t.Context(), l.dir); kind(err) != supervisor.Other || !strings.Contains(err.Error(), "no p2prc runs in") {
		t.Errorf("after it left: %v", err)
	}
}
