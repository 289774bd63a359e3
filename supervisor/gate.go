package supervisor

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"p2prc/admin"
	"p2prc/frpconf"
	"p2prc/supervisor/failpoint"
	"p2prc/supervisor/nodes"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
)

// gate answers frps's questions: who may log in, who may open a port. It
// answers from memory, because frps waits for it without a limit, and over TLS
// with a certificate that only this frps trusts: over plain HTTP any local
// user who got the port first would read credentials and say yes.
type gate struct {
	cert   tls.Certificate
	nodes  *nodes.Registry
	book   *lease.Book
	log    *slog.Logger
	closed func(node identity.ID, name string)

	facts gateFacts // where frps asks
	ln    net.Listener
}

// listen opens the gate where facts says, or anywhere if that is nowhere.
func (g *gate) listen(facts gateFacts) error {
	addr := facts.Addr
	if !addr.IsValid() {
		addr = netip.AddrPortFrom(loopback, 0)
		facts.Path = "/" + rand.Text()
	}
	ln, err := net.Listen("tcp4", addr.String())
	if err != nil {
		return fmt.Errorf("opening the gate: %w", err)
	}
	facts.Addr = netip.MustParseAddrPort(ln.Addr().String())
	g.facts, g.ln = facts, ln
	return nil
}

// Serve answers until ctx ends.
func (g *gate) Serve(ctx context.Context) error {
	srv := &http.Server{
		Handler:           g,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{g.cert}, MinVersion: tls.VersionTLS13},
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.ServeTLS(g.ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("gate: %w", err)
	}
	return ctx.Err()
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.URL.Path), []byte(g.facts.Path)) != 1 {
		http.NotFound(w, r)
		return
	}
	req, err := admin.ReadGate(r)
	if err != nil {
		http.Error(w, "not a question of frps", http.StatusBadRequest)
		return
	}
	switch {
	case req.Login != nil:
		_, err = g.login(req.Login.Metas)
	case req.NewProxy != nil:
		err = g.open(req.NewProxy)
	case req.CloseProxy != nil:
		if id, name, ok := frpconf.ParseProxyName(req.CloseProxy.ProxyName); ok {
			g.closed(identity.ID(id), name)
		}
	default:
		err = errors.New("p2prc was not meant to be asked this")
	}
	if err != nil {
		g.log.Info("the gate said no", "err", err)
		admin.Reject(w, err.Error())
		return
	}
	admin.Allow(w)
}

// login finds out which node this frpc belongs to.
func (g *gate) login(metas map[string]admin.Secret) (identity.ID, error) {
	id, err := identity.ParseID(string(metas[metaNode]))
	if err != nil {
		return "", errors.New("this frps takes logins of p2prc nodes only")
	}
	if !g.nodes.Check(id, string(metas[metaCredential])) {
		return "", errors.New("this node is not admitted at the reverse proxy")
	}
	return id, nil
}

// open lets only the holder of a lease open its port or domain, and nothing
// besides: groups share ports, locations share domains.
func (g *gate) open(p *admin.NewProxy) error {
	id, err := g.login(p.User.Metas)
	if err != nil {
		return err
	}
	node, name, ok := frpconf.ParseProxyName(p.ProxyName)
	if !ok || identity.ID(node) != id {
		return errors.New("the name belongs to another node")
	}
	proto := tables.Protocol(strings.ToUpper(p.ProxyType))
	if !proto.Known() || proto.FRP() != p.ProxyType {
		return fmt.Errorf("p2prc leases no %q proxies", p.ProxyType)
	}
	if proto.ByName() {
		domain, ok := p.Domain()
		if !ok {
			return errors.New("p2prc leases one whole domain and nothing besides: no locations, no subdomains, no passwords, no groups")
		}
		return g.book.AdmitDomain(id, name, proto, domain, p.Metas[metaLease])
	}
	if !p.Plain() {
		return errors.New("p2prc leases plain ports only: no groups, no domains")
	}
	failpoint.Hit("proxy-gate-asked")
	err = g.book.Admit(id, name, proto, p.RemotePort, p.Metas[metaLease])
	failpoint.Hit("proxy-guard-let-go")
	return err
}
