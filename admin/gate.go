package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Op is what frps asks the gate about.
type Op string

// The questions that frpconf makes frps ask. CloseProxy is news, its answer is
// ignored, and on a reload it comes after the NewProxy of the same name.
const (
	OpLogin      Op = "Login"
	OpNewProxy   Op = "NewProxy"
	OpCloseProxy Op = "CloseProxy"
)

const (
	// maxQuestion bounds a question. frps takes no message above 10 KiB from an
	// frpc, and its JSON for the gate is little longer (0.61.0-0.70.1).
	maxQuestion = 64 << 10
	// maxReason keeps a reason well below the 10 KiB that a message of frp may
	// have: frpc drops the session over a longer one.
	maxReason = 500
)

// GateRequest is one question of frps. Its secrets do not print; it is not to
// be logged otherwise.
type GateRequest struct {
	Op      Op
	Login   Login     // of OpLogin
	Session Session   // whose proxy it is: of OpNewProxy and OpCloseProxy
	Proxy   GateProxy // of OpNewProxy; of OpCloseProxy only the name
}

// Login is an frpc that wants a session. frps asks before it checks the token.
type Login struct {
	Version   string            `json:"version"` // of frpc
	Hostname  string            `json:"hostname"`
	User      string            `json:"user"`
	Metas     map[string]Secret `json:"metas"`
	RunID     string            `json:"run_id"` // of the session that this one replaces
	Client    string            `json:"client_address"`
	PoolCount int               `json:"pool_count"`
}

// Session is what an frpc said at its login, and the ID that frps gave it.
type Session struct {
	User  string            `json:"user"`
	Metas map[string]Secret `json:"metas"`
	RunID string            `json:"run_id"`
}

// GateProxy is the proxy that an frpc wants to open. Every field may hold what
// no frpc of ours would send.
type GateProxy struct {
	Name       string            `json:"proxy_name"`
	Type       string            `json:"proxy_type"`
	RemotePort int               `json:"remote_port"` // not checked by frps yet; 0: frps picks
	Metas      map[string]string `json:"metas"`

	// Other ways to be reached, which no mapping of p2prc has.
	Group         string   `json:"group"`
	CustomDomains []string `json:"custom_domains"`
	Subdomain     string   `json:"subdomain"`
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
	g, err := parseGate(body)
	if err != nil {
		return GateRequest{}, fmt.Errorf("reading a question of frps: %w", err)
	}
	if op := r.URL.Query().Get("op"); op != string(g.Op) {
		return GateRequest{}, fmt.Errorf("reading a question of frps: %s in the body, %q in the URL", g.Op, clean(op, maxWords))
	}
	return g, nil
}

func parseGate(body []byte) (GateRequest, error) {
	var q struct {
		Op      Op              `json:"op"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return GateRequest{}, withoutValues(err)
	}
	g := GateRequest{Op: q.Op}
	var err error
	switch q.Op {
	case OpLogin:
		err = json.Unmarshal(q.Content, &g.Login)
	case OpNewProxy, OpCloseProxy:
		var content struct {
			User Session `json:"user"`
			GateProxy
		}
		err = json.Unmarshal(q.Content, &content)
		g.Session, g.Proxy = content.User, content.GateProxy
		if err == nil && g.Proxy.Name == "" {
			err = errors.New("no proxy name")
		}
	default:
		err = fmt.Errorf("unknown op %q", clean(string(q.Op), maxWords))
	}
	if err != nil {
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
