package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// FRPC asks one running frpc.
type FRPC struct{ c *caller }

// NewFRPC is the frpc at this endpoint, which need not be there yet.
func NewFRPC(at Endpoint) *FRPC { return &FRPC{newCaller("frpc", at)} }

// Close lets go of the kept connection. The FRPC can still be asked.
func (f *FRPC) Close() { f.c.idle() }

// Phase is how far frpc got with a proxy.
type Phase string

// The phases of frpc 0.61.0-0.70.1. The last three are its word on a proxy, the
// others pass.
const (
	New         Phase = "new"
	WaitStart   Phase = "wait start"
	CheckFailed Phase = "check failed" // frp's own health check, which p2prc does not use
	Closed      Phase = "closed"
	Running     Phase = "running"
	StartError  Phase = "start error" // tried again after 30 s, or when its configuration changes
)

// Proxy is what frpc says of one mapping.
type Proxy struct {
	Name       string
	Type       string // tcp, udp, http or https
	Phase      Phase
	Err        string // why not, in frps's words; also the last time's while it is tried again
	RemotePort uint16 // 0 unless it runs, and with http on port 80 and https on 443
	Domain     string // of http and https; empty unless it runs
}

// Running: frps listens, as far as frpc knows. Whether bytes pass is another
// question: after a NAT black hole frpc says so for 34 s more (0.65.0).
func (p Proxy) Running() bool { return p.Phase == Running }

// Refusal is why frps did not open the port, nil unless it said no. Its text is
// frps's, and it matches one of ErrPortTaken, ErrPortUsed, ErrDomainUsed, ErrPortNotAllowed,
// ErrQuota, ErrNameTaken, ErrGateDown and ErrRefused.
func (p Proxy) Refusal() error {
	if p.Phase != StartError {
		return nil
	}
	return classify(p.Err)
}

// Status is every proxy by its name. It is empty while frpc has no session with
// frps: there is no other way to ask for that (0.61.0-0.70.1).
func (f *FRPC) Status(ctx context.Context) (map[string]Proxy, error) {
	a, err := f.c.call(ctx, http.MethodGet, "/api/status", nil)
	if err != nil {
		return nil, err
	}
	var byType statusAnswer
	if a.status != http.StatusOK {
		return nil, f.c.notOurs("status", errors.New(message(a.body)))
	}
	if err := json.Unmarshal(a.body, &byType); err != nil || byType == nil {
		return nil, f.c.notOurs("status", err)
	}
	proxies := make(map[string]Proxy)
	for kind, list := range byType {
		for _, p := range list {
			if p.Name == "" || p.Status == "" || p.Type != kind {
				return nil, f.c.notOurs("status", nil)
			}
			proxy := Proxy{Name: p.Name, Type: p.Type, Phase: Phase(p.Status), Err: p.Err}
			if proxy.Running() {
				proxy.RemotePort = remotePort(p.RemoteAddr)
				if kind == "http" || kind == "https" {
					proxy.Domain, _, _ = strings.Cut(p.RemoteAddr, ":")
				}
			}
			proxies[p.Name] = proxy
		}
	}
	return proxies, nil
}

// WaitRunning asks until frpc has said of each of these proxies that it runs or
// why not, and returns the last status. A verdict comes 2-9 ms after a reload
// and 20 ms after a start (0.61.0-0.70.1), so the caller's deadline can be
// short; the status that there is comes with its error, too. An frpc that does
// not answer yet is waited for; the caller ends ctx when frpc has ended.
func (f *FRPC) WaitRunning(ctx context.Context, names []string) (map[string]Proxy, error) {
	var last map[string]Proxy
	pending := slices.Clone(names)
	err := poll(ctx, func() (bool, error) {
		status, err := f.Status(ctx)
		if err != nil {
			return false, err
		}
		last = status
		pending = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
			p := status[name]
			return p.Phase == Running || p.Phase == StartError
		})
		return len(pending) == 0, nil
	})
	if err != nil && len(pending) > 0 {
		err = fmt.Errorf("waiting for frpc's word on %d of %d proxies, %s among them: %w",
			len(pending), len(names), pending[0], err)
	}
	return last, err
}

// Reload makes frpc read its file again. It adds, replaces and removes what has
// changed and nothing else, before it answers; connections through a proxy that
// is removed live on. Only the proxies are taken over: a change to the rest of
// the file is ignored. ErrBadConfig: the file is refused as a whole.
func (f *FRPC) Reload(ctx context.Context) error {
	a, err := f.c.call(ctx, http.MethodGet, "/api/reload", url.Values{"strictConfig": {"true"}})
	if err != nil {
		return err
	}
	switch a.status {
	case http.StatusOK:
		return nil
	case http.StatusBadRequest:
		return fmt.Errorf("%w: %s", ErrBadConfig, message(a.body))
	}
	return f.c.notOurs("reload", nil)
}

// Stop tells frpc to close its proxies and end, which takes 0.11 s after the
// answer (0.61.0-0.70.1).
func (f *FRPC) Stop(ctx context.Context) error {
	a, err := f.c.call(ctx, http.MethodPost, "/api/stop", nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return f.c.notOurs("stop", errors.New(strings.TrimSpace(message(a.body))))
	}
	return nil
}
