package supervisor

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"

	"p2prc/supervisor/control"
	"p2prc/supervisor/discovery"
	"p2prc/supervisor/nodes"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// Paths of the control socket.
const (
	pathAllow       = "/v1/allow"
	pathRevoke      = "/v1/revoke"
	pathRevokeToken = "/v1/revoke-token"
	pathJoinString  = "/v1/join-string"
)

type (
	nothing struct{}
	nodeID  struct {
		ID identity.ID `json:"id"`
	}
	joinText struct {
		Text string `json:"text"` // secret
	}
)

// controls are what the local user can ask of the running reverse proxy.
func (r *reverseProxy) controls() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+pathAllow, control.Handle(func(_ context.Context, in nodeID) (nothing, error) {
		_, err := r.nodes.Enrol(in.ID, "", nodes.ByAllow)
		return nothing{}, err
	}))
	mux.Handle("POST "+pathRevoke, control.Handle(func(ctx context.Context, in nodeID) (nothing, error) {
		return nothing{}, r.revoke(ctx, in.ID)
	}))
	mux.Handle("POST "+pathRevokeToken, control.Handle(func(context.Context, nothing) (joinText, error) {
		t := identity.NewToken()
		if err := t.Save(r.dir.Private("token")); err != nil {
			return joinText{}, err
		}
		r.mu.Lock()
		r.token = t
		r.mu.Unlock()
		return joinText{r.joinString()}, nil
	}))
	mux.Handle("POST "+pathJoinString, control.Handle(func(context.Context, nothing) (joinText, error) {
		return joinText{r.joinString()}, nil
	}))
	peerControls(mux, func(context.Context) (*discovery.Discovery, error) { return r.discovery, nil })
	alike(mux, r.status, r.next, r.leave)
	return mux
}

// revoke shuts a node out now: its leases end, and since frp cannot throw one
// client out, frps is restarted if that node has a tunnel. The others are back
// in about 1.4 s (0.65.0).
func (r *reverseProxy) revoke(ctx context.Context, id identity.ID) error {
	connected := false
	for _, s := range r.book.Of(id) {
		connected = connected || s.Online
	}
	if err := r.nodes.Revoke(id); err != nil {
		return err
	}
	if err := r.expel(id); err != nil {
		return err
	}
	r.hub.send(id, peerapi.Event{Kind: peerapi.EventRevoked})
	r.log.Info("a node was revoked", "peer", id)
	if !connected {
		return nil
	}
	r.log.Info("restarting frps to end the tunnels of a revoked node", "peer", id)
	return r.frps.restart(ctx)
}

// expel ends a node's leases and takes its rows out of the table.
func (r *reverseProxy) expel(id identity.ID) error {
	defer r.oneAtATime(id)()
	if err := r.book.Revoke(id); err != nil {
		return err
	}
	return r.drop(func(m tables.Mapping) bool { return m.NodeID == id })
}

func (r *reverseProxy) tokens() []identity.Token {
	r.mu.Lock()
	defer r.mu.Unlock()
	return []identity.Token{r.token}
}

func (r *reverseProxy) joinString() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return identity.Join{Host: r.o.PublicAddress.String(), Port: r.o.ListenPort, Pin: r.key.ID(), Token: r.token}.Reveal()
}

// Allow lets a node in that knocked, or will. The reverse proxy of this state
// directory may be running or not.
func Allow(ctx context.Context, dir string, id identity.ID) error {
	_, err := ask(ctx, dir, pathAllow, nodeID{id}, func(d *tables.Dir) (nothing, error) {
		reg, err := nodes.Load(d.Private("nodes.json"), nil)
		if err != nil {
			return nothing{}, stateFailure(err)
		}
		_, err = reg.Enrol(id, "", nodes.ByAllow)
		return nothing{}, err
	})
	return err
}

// Revoke shuts a node out: neither its pin nor a token lets it in again, only Allow.
func Revoke(ctx context.Context, dir string, id identity.ID) error {
	_, err := ask(ctx, dir, pathRevoke, nodeID{id}, func(d *tables.Dir) (nothing, error) {
		reg, err := nodes.Load(d.Private("nodes.json"), nil)
		if err != nil {
			return nothing{}, stateFailure(err)
		}
		return nothing{}, reg.Revoke(id)
	})
	if errors.Is(err, nodes.ErrUnknown) {
		return fail(Other, "", "revoking %s: %w", id, err)
	}
	return err
}

// RevokeToken makes a new token in place of the old one and returns the new
// join string, or only the token's effect where the proxy never ran. Nodes
// that were let in stay.
func RevokeToken(ctx context.Context, dir string) (joinString string, err error) {
	got, err := ask(ctx, dir, pathRevokeToken, nothing{}, func(d *tables.Dir) (joinText, error) {
		if err := identity.NewToken().Save(d.Private("token")); err != nil {
			return joinText{}, stateFailure(err)
		}
		return offlineJoin(d)
	})
	return got.Text, err
}

// JoinString is what admits a node at the reverse proxy of this state
// directory. It is a secret.
func JoinString(ctx context.Context, dir string) (string, error) {
	got, err := ask(ctx, dir, pathJoinString, nothing{}, offlineJoin)
	return got.Text, err
}

// ask calls the running reverse proxy, or does the work itself while none runs.
func ask[In, Out any](ctx context.Context, dir, path string, in In, offline func(*tables.Dir) (Out, error)) (out Out, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return out, fail(StateUnusable, "pass the --state-dir of the reverse proxy", "no p2prc ever ran in %s", dir)
	}
	return askIn(ctx, dir, path, in, offline)
}

// askIn is ask, which makes a directory that is not there yet.
func askIn[In, Out any](ctx context.Context, dir, path string, in In, offline func(*tables.Dir) (Out, error)) (out Out, err error) {
	d, err := tables.OpenDir(dir)
	if err == nil {
		defer d.Close()
		return offline(d)
	}
	held, ok := errors.AsType[*tables.LockedError](err)
	if !ok {
		return out, stateFailure(err)
	}
	out, err = control.Call[In, Out](ctx, socketIn(dir), path, in)
	if errors.Is(err, control.ErrNotRunning) {
		return out, fail(StateHeld, "is it a reverse proxy? ask again in a moment if it is just starting",
			"p2prc (process %d) holds %s and cannot be asked: %w", held.PID, dir, err)
	}
	return out, fromControl(dir, err)
}

// offlineJoin makes the join string from the files of a proxy that ran before.
func offlineJoin(d *tables.Dir) (joinText, error) {
	key, err := identity.LoadOrCreate(d.Private("node.key"))
	if err != nil {
		return joinText{}, stateFailure(err)
	}
	token, err := identity.LoadToken(d.Private("token"))
	if err != nil {
		return joinText{}, fail(StateUnusable, "start it once: p2prc -s --reverse-proxy", "no reverse proxy ever ran in %s", d.Path())
	}
	addr, err := loadAddress(d)
	if err != nil {
		return joinText{}, fail(StateUnusable, "start it once: p2prc -s --reverse-proxy", "no reverse proxy ever ran in %s: %w", d.Path(), err)
	}
	return joinText{identity.Join{Host: addr.Addr().String(), Port: addr.Port(), Pin: key.ID(), Token: token}.Reveal()}, nil
}
