package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// FRPS asks one running frps.
type FRPS struct{ c *caller }

// NewFRPS is the frps at this endpoint, which need not be there yet.
func NewFRPS(at Endpoint) *FRPS { return &FRPS{newCaller("frps", at)} }

// Close lets go of the kept connection. The FRPS can still be asked.
func (f *FRPS) Close() { f.c.idle() }

// ServerInfo is what frps says of itself.
type ServerInfo struct {
	Version  string
	BindPort uint16
	Clients  int // sessions, dead ones that frps still believes in among them
}

// ServerProxy is what frps says of one mapping.
type ServerProxy struct {
	Name       string
	Type       string
	Online     bool
	RemotePort uint16 // 0 unless online
	Domain     string // of http and https, while online; empty when there is not exactly one
	In, Out    int64  // bytes since midnight; a connection's are counted when it ends (0.70.1)
	Conns      int
}

// Info is frps's version and load.
func (f *FRPS) Info(ctx context.Context) (ServerInfo, error) {
	a, err := f.c.call(ctx, http.MethodGet, "/api/serverinfo", nil)
	if err != nil {
		return ServerInfo{}, err
	}
	var info infoAnswer
	if err := json.Unmarshal(a.body, &info); err != nil || a.status != http.StatusOK || info.Version == "" {
		return ServerInfo{}, f.c.notOurs("serverinfo", err)
	}
	return ServerInfo(info), nil
}

// WaitReady asks until frps answers, 30 ms after its start with an EC
// certificate (0.61.0-0.70.1). The caller ends ctx when frps has ended.
func (f *FRPS) WaitReady(ctx context.Context) (ServerInfo, error) {
	var info ServerInfo
	err := poll(ctx, func() (bool, error) {
		var err error
		info, err = f.Info(ctx)
		return err == nil, err
	})
	return info, err
}

// Proxies is every proxy of a type that has run since frps started, 7 days back
// at most. Ports that other processes hold are unknown to frps.
func (f *FRPS) Proxies(ctx context.Context, kind string) ([]ServerProxy, error) {
	a, err := f.c.call(ctx, http.MethodGet, "/api/proxy/"+kind, nil)
	if err != nil {
		return nil, err
	}
	var list proxiesAnswer
	if err := json.Unmarshal(a.body, &list); err != nil || a.status != http.StatusOK || list.Proxies == nil {
		return nil, f.c.notOurs("list of proxies", err)
	}
	proxies := make([]ServerProxy, 0, len(*list.Proxies))
	for _, p := range *list.Proxies {
		proxy, ok := p.proxy(kind)
		if !ok {
			return nil, f.c.notOurs("list of proxies", nil)
		}
		proxies = append(proxies, proxy)
	}
	return proxies, nil
}

// Proxy is one proxy by its name. It takes frps 2-7 ms, however many there are.
// ErrNotFound: it has not run since frps started; frps does not list those it
// refused.
func (f *FRPS) Proxy(ctx context.Context, kind, name string) (ServerProxy, error) {
	a, err := f.c.call(ctx, http.MethodGet, "/api/proxy/"+kind+"/"+name, nil)
	if err != nil {
		return ServerProxy{}, err
	}
	if a.status == http.StatusNotFound && message(a.body) == "no proxy info found" {
		return ServerProxy{}, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if a.status != http.StatusOK {
		return ServerProxy{}, f.c.notOurs("proxy", errors.New(message(a.body)))
	}
	var p proxyAnswer
	if err := json.Unmarshal(a.body, &p); err != nil {
		return ServerProxy{}, f.c.notOurs("proxy", err)
	}
	proxy, ok := p.proxy(kind)
	if !ok || proxy.Name != name {
		return ServerProxy{}, f.c.notOurs("proxy", nil)
	}
	return proxy, nil
}

func (p proxyAnswer) proxy(kind string) (ServerProxy, bool) {
	proxy := ServerProxy{Name: p.Name, Type: kind, Online: p.Status == "online", In: p.In, Out: p.Out, Conns: p.Conns}
	if proxy.Online && p.Conf != nil {
		proxy.RemotePort = p.Conf.RemotePort
		if len(p.Conf.CustomDomains) == 1 && p.Conf.SubDomain == "" {
			proxy.Domain = p.Conf.CustomDomains[0]
		}
	}
	return proxy, p.Name != "" && p.Status != ""
}
