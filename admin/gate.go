package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

const (
	// maxQuestion bounds a question. frps takes no message above 10 KiB from an
	// frpc, and its JSON for the gate is little longer (0.61.0-0.70.1).
	maxQuestion = 64 << 10
	// maxReason keeps a reason well below the 10 KiB that a message of frp may
	// have: frpc drops the session over a longer one.
	maxReason = 500
)

// GateRequest is one question of frps, of the three that frpconf makes it ask:
// the field that is not nil. Its secrets do not print.
type GateRequest struct {
	Login      *Login
	NewProxy   *NewProxy
	CloseProxy *CloseProxy
}

// Login is an frpc that wants a session. frps asks before it checks the token.
type Login struct {
	Version string            `json:"version"` // of frpc
	Metas   map[string]Secret `json:"metas"`
	RunID   string            `json:"run_id"` // of the session that this one replaces
	Client  string            `json:"client_address"`
}

// Session is what an frpc said at its login, and the ID that frps gave it.
type Session struct {
	Metas map[string]Secret `json:"metas"`
	RunID string            `json:"run_id"`
}

// NewProxy is a proxy that an frpc wants to open. Any field may hold what no
// frpc of ours would send.
type NewProxy struct {
	User       Session           `json:"user"`
	ProxyName  string            `json:"proxy_name"`
	ProxyType  string            `json:"proxy_type"`
	RemotePort uint16            `json:"remote_port"` // 0: frps picks
	Metas      map[string]string `json:"metas"`

	Group         string   `json:"group"`
	CustomDomains []string `json:"custom_domains"`
	SubDomain     string   `json:"subdomain"`

	// What frp can do with requests on their way.
	Locations       []string          `json:"locations"`
	HTTPUser        string            `json:"http_user"`
	HTTPPassword    Secret            `json:"http_pwd"`
	HostRewrite     string            `json:"host_header_rewrite"`
	Headers         map[string]string `json:"headers"`
	ResponseHeaders map[string]string `json:"response_headers"`
	RouteByUser     string            `json:"route_by_http_user"`
	Multiplexer     string            `json:"multiplexer"`
}

// Plain reports whether the proxy is a port of its own and nothing else: not
// shared in a group, not reached by a domain.
func (p *NewProxy) Plain() bool {
	return len(p.CustomDomains) == 0 && p.bare()
}

// Domain is the one domain that the proxy is reached by; ok is false when it
// is anything else besides: a part of that domain, a port, several.
func (p *NewProxy) Domain() (domain string, ok bool) {
	if len(p.CustomDomains) != 1 || p.RemotePort != 0 || !p.bare() {
		return "", false
	}
	return p.CustomDomains[0], p.CustomDomains[0] != ""
}

// bare: nothing is shared, parted or changed on its way.
func (p *NewProxy) bare() bool {
	return p.Group == "" && p.SubDomain == "" && len(p.Locations) == 0 && p.HTTPUser == "" && p.HTTPPassword == "" &&
		p.HostRewrite == "" && len(p.Headers) == 0 && len(p.ResponseHeaders) == 0 && p.RouteByUser == "" && p.Multiplexer == ""
}

// CloseProxy says that a proxy is closed; the answer is ignored. On a reload it
// comes after the NewProxy of the same name, after a kill -9 only once frps has
// noticed.
type CloseProxy struct {
	User      Session `json:"user"`
	ProxyName string  `json:"proxy_name"`
}

// ReadGate reads frps's question. What it does not know it passes over, for
// later versions of frp. An error is answered with http.StatusBadRequest, which
// frps takes for a no.
func ReadGate(r *http.Request) (GateRequest, error) {
	if r.Method != http.MethodPost {
		return GateRequest{}, fmt.Errorf("reading a question of frps: method %q", clean(r.Method, maxWords))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxQuestion+1))
	if err != nil {
		return GateRequest{}, fmt.Errorf("reading a question of frps: %w", err)
	}
	if len(body) > maxQuestion {
		return GateRequest{}, fmt.Errorf("reading a question of frps: longer than %d bytes", maxQuestion)
	}
	g, err := parseGate(body, r.URL.Query().Get("op"))
	if err != nil {
		return GateRequest{}, fmt.Errorf("reading a question of frps: %w", err)
	}
	return g, nil
}

// parseGate: op is frps's in the URL, which must agree with the body.
func parseGate(body []byte, op string) (GateRequest, error) {
	var q struct {
		Op      string          `json:"op"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return GateRequest{}, withoutValues(err)
	}
	var g GateRequest
	var content any
	switch {
	case q.Op != op:
		return g, fmt.Errorf("%q in the body, %q in the URL", clean(q.Op, maxWords), clean(op, maxWords))
	case op == "Login":
		g.Login = new(Login)
		content = g.Login
	case op == "NewProxy":
		g.NewProxy = new(NewProxy)
		content = g.NewProxy
	case op == "CloseProxy":
		g.CloseProxy = new(CloseProxy)
		content = g.CloseProxy
	default:
		return g, fmt.Errorf("unknown op %q", clean(op, maxWords))
	}
	if len(q.Content) == 0 || q.Content[0] != '{' {
		return GateRequest{}, errors.New("no content")
	}
	if err := json.Unmarshal(q.Content, content); err != nil {
		return GateRequest{}, withoutValues(err)
	}
	return g, nil
}

// withoutValues drops the piece of the document, maybe a credential, that an
// error of encoding/json may quote.
func withoutValues(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s is no %s", clean(wrong.Field, maxWords), wrong.Type)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("bad JSON at byte %d", syntax.Offset)
	}
	return err
}

// Allow answers yes.
func Allow(w http.ResponseWriter) {
	reply(w, gateReply{Unchange: true})
}

// Reject answers no. The reason reaches the user: it is the proxy's error in
// frpc's status, and for a login the last line of frpc's log.
func Reject(w http.ResponseWriter, reason string) {
	reason = clean(reason, maxReason)
	if reason == "" {
		// frpc takes a refusal without a reason for a yes: its status says
		// "running", and no port is open (0.61.0, 0.65.0, 0.70.1).
		reason = "refused"
	}
	reply(w, gateReply{Reject: true, Reason: reason})
}

type gateReply struct {
	Reject   bool   `json:"reject"`
	Reason   string `json:"reject_reason,omitempty"`
	Unchange bool   `json:"unchange"`
}

func reply(w http.ResponseWriter, r gateReply) {
	w.Header().Set("Content-Type", "application/json")
	// frps takes an answer that breaks off for a no; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(r)
}
