package admin_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"p2prc/admin"
	"p2prc/admin/admintest"
	"p2prc/admin/frptest"
)

// says is an admin API that gives these answers in turn, the last for ever.
func says(t *testing.T, answers ...string) admin.Endpoint {
	t.Helper()
	var n atomic.Int64
	return admintest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i := min(int(n.Add(1)), len(answers)) - 1
		fmt.Fprint(w, answers[i])
	}))
}

func one(name, phase, err, remote string) string {
	return fmt.Sprintf(`{"name":%q,"type":"tcp","status":%q,"err":%q,"remote_addr":%q}`, name, phase, err, remote)
}

func TestWaitRunning(t *testing.T) {
	tests := []struct {
		name    string
		answers []string
		want    map[string]admin.Proxy
	}{
		{
			"connects, starts, runs",
			[]string{`{}`, `{"tcp":[` + one("n.a", "new", "", "") + `]}`, `{"tcp":[` + one("n.a", "wait start", "", "x") + `]}`, `{"tcp":[` + one("n.a", "running", "", "x:1") + `]}`},
			map[string]admin.Proxy{"n.a": {Name: "n.a", Type: "tcp", Phase: admin.Running, RemotePort: 1}},
		},
		{
			"a no is a verdict, too",
			[]string{`{"tcp":[` + one("n.a", "start error", "port unavailable", "") + `]}`},
			map[string]admin.Proxy{"n.a": {Name: "n.a", Type: "tcp", Phase: admin.StartError, Err: "port unavailable"}},
		},
		{
			"the no of an earlier try is none",
			[]string{`{"tcp":[` + one("n.a", "wait start", "port unavailable", "") + `]}`, `{"tcp":[` + one("n.a", "running", "", "x:1") + `]}`},
			map[string]admin.Proxy{"n.a": {Name: "n.a", Type: "tcp", Phase: admin.Running, RemotePort: 1}},
		},
		{
			"others do not matter",
			[]string{`{"tcp":[` + one("n.a", "running", "", "x:1") + `,` + one("n.b", "new", "", "") + `]}`},
			map[string]admin.Proxy{
				"n.a": {Name: "n.a", Type: "tcp", Phase: admin.Running, RemotePort: 1},
				"n.b": {Name: "n.b", Type: "tcp", Phase: admin.New},
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := admin.NewFRPC(says(t, test.answers...)).WaitRunning(t.Context(), []string{"n.a"})
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	t.Run("a stranger is not waited for", func(t *testing.T) {
		if got, err := admin.NewFRPC(says(t, "hello")).WaitRunning(t.Context(), []string{"n.a"}); !errors.Is(err, admin.ErrNotOurs) || got != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// Answers that frpc and frps do not give.
func TestStrangeAnswers(t *testing.T) {
	for _, answer := range []string{
		`{"tcp":[` + one("", "running", "", "x:1") + `]}`,
		`{"tcp":[` + one("n.a", "", "", "") + `]}`,
		`{"udp":[` + one("n.a", "running", "", "x:1") + `]}`,
	} {
		if got, err := admin.NewFRPC(says(t, answer)).Status(t.Context()); !errors.Is(err, admin.ErrNotOurs) {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
	for _, answer := range []string{
		`{}`,
		`{"proxies":null}`,
		`{"proxies":[{}]}`,
		`{"proxies":[{"name":"n.a","status":""}]}`,
		`{"proxies":[{"name":"n.a","status":"online","conf":{"remotePort":70000}}]}`,
	} {
		if got, err := admin.NewFRPS(says(t, answer)).Proxies(t.Context(), "tcp"); !errors.Is(err, admin.ErrNotOurs) {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
	if got, err := admin.NewFRPS(says(t, `{"version":""}`)).Info(t.Context()); !errors.Is(err, admin.ErrNotOurs) {
		t.Errorf("no version: %v, %v", got, err)
	}
}

// WaitReady is there when the listener is.
func TestWaitReady(t *testing.T) {
	at := admin.Endpoint{Addr: netip.AddrPortFrom(loopback, frptest.Port(t)), User: "u", Password: "p"}
	asked := make(chan struct{})
	srv := &http.Server{Addr: at.Addr.String(), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"version":"0.70.1","bindPort":7000,"clientCounts":3}`)
	})}
	frps := admin.NewFRPS(at)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer srv.Close()
	wg.Go(func() {
		<-asked
		if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	if _, err := frps.Info(t.Context()); !errors.Is(err, admin.ErrUnavailable) {
		t.Fatalf("before the start: %v", err)
	}
	close(asked)
	got, err := frps.WaitReady(t.Context())
	if diff := cmp.Diff(admin.ServerInfo{Version: "0.70.1", BindPort: 7000, Clients: 3}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	frps.Close()
}

// A kept connection that has died in between is no reason to fail.
func TestStop_onADeadConnection(t *testing.T) {
	at := admin.Endpoint{Addr: netip.AddrPortFrom(loopback, frptest.Port(t)), User: "u", Password: "p"}
	frpc := admin.NewFRPC(at)
	defer frpc.Close()
	for range 2 { // two lives of one server
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.Listener.Close()
		ln, err := net.Listen("tcp4", at.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		srv.Listener = ln
		srv.Start()
		if err := frpc.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}
