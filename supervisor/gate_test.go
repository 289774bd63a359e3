package supervisor

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"p2prc/admin"
	"p2prc/frpconf"
	"p2prc/supervisor/nodes"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

// doorway is a gate with two nodes, of which the first has leases. The inside is
// the point: over frps only what frpc can send would be tried.
type doorway struct {
	gate       *gate
	alice, bob nodes.Node
	leases     map[string]string // IDs of alice's, by name
}

func newDoorway(t testing.TB) *doorway {
	t.Helper()
	reg, err := nodes.Load(filepath.Join(t.TempDir(), "nodes.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &doorway{leases: make(map[string]string)}
	for i, n := range []*nodes.Node{&d.alice, &d.bob} {
		if *n, err = reg.Enrol(identity.IDOf([]byte{byte(i)}), "n", nodes.ByAllow); err != nil {
			t.Fatal(err)
		}
	}
	book, err := lease.New(lease.Options{
		Proxy: identity.IDOf([]byte("proxy")), Secret: lease.Secret("secret"),
		Sign:   func([]byte) []byte { return make([]byte, 64) },
		Verify: func(_, _ []byte) bool { return false },
		Pool:   tables.PortRange{First: 20000, Last: 20009}, HTTPPort: 80, HTTPSPort: 443,
		Guard:  func(tables.Protocol, uint16, string, []byte) (io.Closer, error) { return io.NopCloser(nil), nil },
		Commit: func(tables.Batch) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	book.FRPSGone()
	got, err := book.Reserve(d.alice.ID, peerapi.ReserveRequest{ID: "r", Name: "n", Wants: []peerapi.Want{
		{Name: "port", Type: tables.TCP, Port: 20001}, {Name: "site", Type: tables.HTTP, Domain: "app.test"}, {Name: "tls", Type: tables.HTTPS, Domain: "app.test"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range got {
		d.leases[l.Name] = l.ID
	}
	d.gate = &gate{nodes: reg, book: book, log: slog.New(slog.DiscardHandler), closed: func(identity.ID, string) {}, facts: gateFacts{Path: "/secret"}}
	return d
}

// ask puts frps's question to the gate.
func (d *doorway) ask(t testing.TB, body string) error {
	t.Helper()
	w := httptest.NewRecorder()
	d.gate.ServeHTTP(w, httptest.NewRequest("POST", "/secret?op=NewProxy", strings.NewReader(body)))
	var reply struct {
		Reject bool   `json:"reject"`
		Reason string `json:"reject_reason"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		return errors.New(strings.TrimSpace(w.Body.String()))
	}
	if reply.Reject {
		return errors.New(reply.Reason)
	}
	return nil
}

// question is alice's for one of her mappings, with some members changed.
func (d *doorway) question(t testing.TB, name, kind string, change map[string]any) string {
	t.Helper()
	content := map[string]any{
		"user":       map[string]any{"metas": map[string]string{metaNode: string(d.alice.ID), metaCredential: string(d.alice.Credential)}},
		"proxy_name": frpconf.ProxyName(string(d.alice.ID), name), "proxy_type": kind, "metas": map[string]string{metaLease: d.leases[name]},
	}
	switch kind {
	case "http", "https":
		content["custom_domains"] = []string{"app.test"}
	default:
		content["remote_port"] = 20001
	}
	for k, v := range change {
		content[k] = v
	}
	b, err := json.Marshal(map[string]any{"op": "NewProxy", "content": content})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGate_domains(t *testing.T) {
	d := newDoorway(t)
	other := map[string]any{"metas": map[string]string{metaNode: string(d.bob.ID), metaCredential: string(d.bob.Credential)}}
	tests := []struct {
		name, mapping, kind string
		change              map[string]any
		want                string // in the refusal; empty: let in
	}{
		{"a port", "port", "tcp", nil, ""},
		{"a domain", "site", "http", nil, ""},
		{"the same again", "site", "http", nil, ""},
		{"a domain of https", "tls", "https", nil, ""},

		{"another node", "site", "http", map[string]any{"user": other}, "the name belongs to another node"},
		{"another node's domain", "site", "http", map[string]any{"user": other, "proxy_name": frpconf.ProxyName(string(d.bob.ID), "site")}, "no port is reserved for site here"},
		{"another domain", "site", "http", map[string]any{"custom_domains": []string{"b.test"}}, "not HTTP domain b.test"},
		{"upper case", "site", "http", map[string]any{"custom_domains": []string{"APP.test"}}, "not HTTP domain APP.test"},
		{"any domain", "site", "http", map[string]any{"custom_domains": []string{"*"}}, "not HTTP domain *"},
		{"a part of it", "site", "http", map[string]any{"custom_domains": []string{"www.app.test"}}, "not HTTP domain www.app.test"},
		{"one more", "site", "http", map[string]any{"custom_domains": []string{"app.test", "b.test"}}, "one whole domain"},
		{"none", "site", "http", map[string]any{"custom_domains": []string{}}, "one whole domain"},
		{"a subdomain", "site", "http", map[string]any{"custom_domains": nil, "subdomain": "app"}, "one whole domain"},
		{"a subdomain too", "site", "http", map[string]any{"subdomain": "app"}, "one whole domain"},
		{"locations", "site", "http", map[string]any{"locations": []string{"/"}}, "one whole domain"},
		{"a user", "site", "http", map[string]any{"http_user": "u"}, "one whole domain"},
		{"a password", "site", "http", map[string]any{"http_pwd": "p"}, "one whole domain"},
		{"another Host", "site", "http", map[string]any{"host_header_rewrite": "b.test"}, "one whole domain"},
		{"headers", "site", "http", map[string]any{"headers": map[string]string{"a": "b"}}, "one whole domain"},
		{"answer's headers", "site", "http", map[string]any{"response_headers": map[string]string{"a": "b"}}, "one whole domain"},
		{"a route by user", "site", "http", map[string]any{"route_by_http_user": "u"}, "one whole domain"},
		{"a group", "site", "http", map[string]any{"group": "g", "group_key": "k"}, "one whole domain"},
		{"a port besides", "site", "http", map[string]any{"remote_port": 20001}, "one whole domain"},
		{"the other kind", "site", "https", nil, "site has HTTP domain app.test here, not HTTPS domain app.test"},
		{"another's lease", "site", "http", map[string]any{"metas": map[string]string{metaLease: d.leases["tls"]}}, "another lease"},
		{"no lease", "site", "http", map[string]any{"metas": nil}, "another lease"},
		{"a port for a domain", "site", "tcp", nil, "site has HTTP domain app.test here, not TCP port 20001"},
		{"a domain for a port", "port", "http", nil, "port has TCP port 20001 here, not HTTP domain app.test"},
		{"a domain on a port", "port", "tcp", map[string]any{"custom_domains": []string{"app.test"}}, "plain ports only"},
		{"tcpmux", "site", "tcpmux", map[string]any{"multiplexer": "httpconnect", "custom_domains": []string{"app.test"}}, `no "tcpmux" proxies`},
		{"upper-case kind", "site", "HTTP", map[string]any{"custom_domains": []string{"app.test"}}, `no "HTTP" proxies`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := d.ask(t, d.question(t, tt.mapping, tt.kind, tt.change))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzGate_open: of all that an admitted node can ask for, only what is leased to
// it, whole and alone, is opened.
func FuzzGate_open(f *testing.F) {
	d := newDoorway(f)
	for _, name := range []string{"port", "site", "tls"} {
		for _, kind := range []string{"tcp", "http", "https"} {
			f.Add(d.question(f, name, kind, nil))
		}
	}
	f.Add(d.question(f, "site", "http", map[string]any{"locations": []string{"/a"}, "custom_domains": []string{"app.test", "app.test"}}))
	f.Fuzz(func(t *testing.T, body string) {
		if d.ask(t, body) != nil {
			return
		}
		g, err := admin.ReadGate(httptest.NewRequest("POST", "/?op=NewProxy", strings.NewReader(body)))
		if err != nil || g.NewProxy == nil {
			t.Fatalf("let in: %q, %v", body, err)
		}
		p := g.NewProxy
		port := p.ProxyType == "tcp" && p.RemotePort == 20001 && len(p.CustomDomains) == 0
		domain := (p.ProxyType == "http" || p.ProxyType == "https") && p.RemotePort == 0 && len(p.CustomDomains) == 1 && p.CustomDomains[0] == "app.test"
		if !port && !domain || p.Group != "" || p.SubDomain != "" || len(p.Locations) > 0 || p.HTTPUser != "" || len(p.Headers) > 0 {
			t.Errorf("let in: %+v", p)
		}
	})
}
