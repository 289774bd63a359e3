package admin_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"p2prc/admin"
)

func question(op, body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/secret?version=0.1.0&op="+op, strings.NewReader(body))
}

func TestReadGate(t *testing.T) {
	tests := []struct {
		name, op, body string
		want           admin.GateRequest
	}{
		{
			"login", "Login",
			`{"version":"0.1.0","op":"Login","content":{"version":"0.70.1","hostname":"vm","os":"linux","privilege_key":"x","timestamp":1,"run_id":"r1","metas":{"credential":"c1"},"client_spec":{},"pool_count":1,"client_address":"127.0.0.1:42706","new_in_0.99":{"a":[1]}}}`,
			admin.GateRequest{Login: &admin.Login{Version: "0.70.1", RunID: "r1", Client: "127.0.0.1:42706", Metas: map[string]admin.Secret{"credential": "c1"}}},
		},
		{
			"login without metadata", "Login", `{"op":"Login","content":{}}`,
			admin.GateRequest{Login: &admin.Login{}},
		},
		{
			"new proxy", "NewProxy",
			`{"op":"NewProxy","content":{"user":{"user":"","metas":{"credential":"c1"},"run_id":"r1"},"proxy_name":"n.web","proxy_type":"tcp","remote_port":20000,"metas":{"lease":"l1"}}}`,
			admin.GateRequest{NewProxy: &admin.NewProxy{
				User:      admin.Session{Metas: map[string]admin.Secret{"credential": "c1"}, RunID: "r1"},
				ProxyName: "n.web", ProxyType: "tcp", RemotePort: 20000, Metas: map[string]string{"lease": "l1"},
			}},
		},
		{
			"new proxy that is more than a port", "NewProxy",
			`{"op":"NewProxy","content":{"user":{},"proxy_name":"n.web","proxy_type":"http","group":"g","custom_domains":["a.test"],"subdomain":"s"}}`,
			admin.GateRequest{NewProxy: &admin.NewProxy{ProxyName: "n.web", ProxyType: "http", Group: "g", CustomDomains: []string{"a.test"}, SubDomain: "s"}},
		},
		{
			"close proxy", "CloseProxy",
			`{"op":"CloseProxy","content":{"user":{"run_id":"r1"},"proxy_name":"n.web"}}`,
			admin.GateRequest{CloseProxy: &admin.CloseProxy{User: admin.Session{RunID: "r1"}, ProxyName: "n.web"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := admin.ReadGate(question(test.op, test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadGate_refused(t *testing.T) {
	big := `{"op":"Login","content":{"hostname":"` + strings.Repeat("x", 64<<10) + `"}}`
	tests := []struct {
		name string
		r    *http.Request
		want string
	}{
		{"GET", httptest.NewRequest(http.MethodGet, "/?op=Login", nil), `method "GET"`},
		{"too long", question("Login", big), "longer than 65536 bytes"},
		{"breaks off", httptest.NewRequest(http.MethodPost, "/?op=Login", io.MultiReader(strings.NewReader("{"), brokenReader{})), "unexpected EOF"},
		{"empty", question("Login", ""), "bad JSON at byte 0"},
		{"garbage", question("Login", "secret"), "bad JSON at byte 1"},
		{"two documents", question("Login", `{"op":"Login","content":{}} {}`), "bad JSON at byte 29"},
		{"other op in the URL", question("NewProxy", `{"op":"Login","content":{}}`), `"Login" in the body, "NewProxy" in the URL`},
		{"no op", question("", `{"content":{}}`), `unknown op ""`},
		{"op that was not asked for", question("Ping", `{"op":"Ping","content":{}}`), `unknown op "Ping"`},
		{"no content", question("Login", `{"op":"Login"}`), "no content"},
		{"null content", question("NewProxy", `{"op":"NewProxy","content":null}`), "no content"},
		{"content of another kind", question("NewProxy", `{"op":"NewProxy","content":["secret"]}`), "no content"},
		{"port too high", question("NewProxy", `{"op":"NewProxy","content":{"remote_port":70000}}`), "remote_port is no uint16"},
		{"port below zero", question("NewProxy", `{"op":"NewProxy","content":{"remote_port":-5}}`), "remote_port is no uint16"},
		{"field of another kind", question("Login", `{"op":"Login","content":{"metas":"secret"}}`), "metas is no map[string]admin.Secret"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, err := admin.ReadGate(test.r)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the question: %v", err)
			}
			if diff := cmp.Diff(admin.GateRequest{}, g); diff != "" {
				t.Errorf("a question came out all the same: %s", diff)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestNewProxy_Plain(t *testing.T) {
	for _, p := range []admin.NewProxy{
		{Group: "g"}, {CustomDomains: []string{"a.test"}}, {SubDomain: "s"}, {HTTPUser: "u"}, {Multiplexer: "httpconnect"},
	} {
		if p.Plain() {
			t.Errorf("%+v is plain", p)
		}
	}
	if p := (&admin.NewProxy{ProxyName: "n.a", ProxyType: "tcp", RemotePort: 1}); !p.Plain() {
		t.Errorf("%+v is not plain", p)
	}
}

// TestNewProxy_Domain: one domain, all of it, and nothing that changes a request.
func TestNewProxy_Domain(t *testing.T) {
	one := []string{"app.test"}
	if got, ok := (&admin.NewProxy{ProxyName: "n.a", ProxyType: "http", CustomDomains: one}).Domain(); !ok || got != "app.test" {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, p := range []admin.NewProxy{
		{},
		{CustomDomains: []string{""}},
		{CustomDomains: []string{"a.test", "b.test"}},
		{SubDomain: "s"},
		{CustomDomains: one, SubDomain: "s"},
		{CustomDomains: one, Group: "g"},
		{CustomDomains: one, RemotePort: 80},
		{CustomDomains: one, Locations: []string{"/a"}},
		{CustomDomains: one, HTTPUser: "u"},
		{CustomDomains: one, HTTPPassword: "p"},
		{CustomDomains: one, HostRewrite: "b.test"},
		{CustomDomains: one, Headers: map[string]string{"a": "b"}},
		{CustomDomains: one, ResponseHeaders: map[string]string{"a": "b"}},
		{CustomDomains: one, RouteByUser: "u"},
		{CustomDomains: one, Multiplexer: "httpconnect"},
	} {
		if got, ok := p.Domain(); ok {
			t.Errorf("%+v is the one domain %q", p, got)
		}
	}
}

func TestReplies(t *testing.T) {
	long := strings.Repeat("é", 400)
	tests := []struct {
		name   string
		answer func(http.ResponseWriter)
		want   string
	}{
		{"yes", admin.Allow, `{"reject":false,"unchange":true}`},
		{"no", func(w http.ResponseWriter) { admin.Reject(w, "lease expired (p2prc)") }, `{"reject":true,"reject_reason":"lease expired (p2prc)","unchange":false}`},
		{"no without a reason", func(w http.ResponseWriter) { admin.Reject(w, " \n") }, `{"reject":true,"reject_reason":"refused","unchange":false}`},
		{"control characters", func(w http.ResponseWriter) { admin.Reject(w, "a\x1b[31m\nb\xff") }, `{"reject":true,"reject_reason":"a [31m b","unchange":false}`},
		{"too long", func(w http.ResponseWriter) { admin.Reject(w, long) }, `{"reject":true,"reject_reason":"` + long[:500] + `","unchange":false}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			test.answer(w)
			if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusOK || got != test.want {
				t.Errorf("%d %s, want %s", w.Code, got, test.want)
			}
		})
	}
}

// FuzzReadGate: any question is read or refused, and none can make an answer
// or an error unfit to pass on.
func FuzzReadGate(f *testing.F) {
	f.Add("Login", `{"op":"Login","content":{"metas":{"a":"b"}}}`)
	f.Add("NewProxy", `{"op":"NewProxy","content":{"user":{"metas":{"a":"b"}},"proxy_name":"n.a","remote_port":1,"metas":{"x":"y"}}}`)
	f.Add("CloseProxy", `{"op":"CloseProxy","content":{"proxy_name":""}}`)
	f.Add("NewProxy", `{"op":"NewProxy","content":{"proxy_name":"n.a","proxy_type":"http","custom_domains":["a.test"],"locations":["/"],"http_pwd":"x","headers":{"a":"b"}}}`)
	f.Add("Login", `{"op":"Login","OP":"NewProxy","content":{},"CONTENT":[]}`)
	f.Add("\x00", `{"op":"\u0000","content":{"\ud800":1e999}}`)
	f.Fuzz(func(t *testing.T, op, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		q := r.URL.Query()
		q.Set("op", op)
		r.URL.RawQuery = q.Encode()
		g, err := admin.ReadGate(r)
		set := 0
		for _, is := range []bool{g.Login != nil, g.NewProxy != nil, g.CloseProxy != nil} {
			if is {
				set++
			}
		}
		if (err == nil) != (set == 1) || set > 1 {
			t.Fatalf("%d questions in one, %v", set, err)
		}
		if err != nil {
			if s := err.Error(); len(s) > 1000 || !utf8.ValidString(s) || strings.ContainsAny(s, "\x1b\n\x00") {
				t.Errorf("unfit for a log: %q", s)
			}
		}
		w := httptest.NewRecorder()
		admin.Reject(w, body)
		if w.Body.Len() > 4<<10 || strings.Contains(w.Body.String(), `"reject_reason":""`) {
			t.Errorf("a refusal of %d bytes: %s", w.Body.Len(), w.Body)
		}
	})
}

func TestSecrets_neverPrint(t *testing.T) {
	g, err := admin.ReadGate(question("NewProxy", `{"op":"NewProxy","content":{"user":{"metas":{"k":"hunter2"}},"proxy_name":"n.a"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if g.NewProxy.User.Metas["k"] != "hunter2" {
		t.Fatalf("the credential was not read")
	}
	at := admin.Endpoint{User: "u", Password: "hunter2"}
	for _, v := range []any{g.NewProxy, *g.NewProxy, g.NewProxy.User, at, &at, at.Password} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e746572") {
				t.Errorf("%s prints %s", verb, got)
			}
		}
	}
}
