package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/netaddr"
)

// Paths of the control socket, of every role.
const (
	pathUpdate    = "/v1/update-servers"
	pathAddServer = "/v1/add-server"
	pathRefresh   = "/v1/refresh"
)

// PeersOptions is for the commands that ask other nodes, with a p2prc running in
// the directory or not.
type PeersOptions struct {
	Dir              string
	Log              *slog.Logger
	PrivateAddresses bool // addresses that others name are dialled even if they are not public
}

// peersWait bounds what the running p2prc does for one of these commands, which
// waits for 10 s: what is not done by then goes on by itself.
const peersWait = 9 * time.Second

type answered struct {
	Nodes int `json:"nodes"`
}

// peerControls let the local user look for other nodes.
func peerControls(mux *http.ServeMux, get func(context.Context) (*discovery.Discovery, error)) {
	mux.Handle("POST "+pathUpdate, handle(func(ctx context.Context, _ nothing) (answered, error) {
		return inTime(ctx, get, updateServers)
	}))
	mux.Handle("POST "+pathAddServer, handle(func(ctx context.Context, s discovery.Seed) (answered, error) {
		return inTime(ctx, get, func(ctx context.Context, d *discovery.Discovery) (answered, error) { return addServer(ctx, d, s) })
	}))
	mux.Handle("POST "+pathRefresh, handle(func(ctx context.Context, _ nothing) (nothing, error) {
		return inTime(ctx, get, refreshProxies)
	}))
}

func inTime[Out any](ctx context.Context, get func(context.Context) (*discovery.Discovery, error), work func(context.Context, *discovery.Discovery) (Out, error)) (out Out, err error) {
	ctx, cancel := context.WithTimeout(ctx, peersWait)
	defer cancel()
	d, err := get(ctx)
	if err != nil {
		return out, err
	}
	out, err = work(ctx, d)
	return out, peersFailure(err)
}

// UpdateServers asks other nodes what there is, and returns how many answered.
func UpdateServers(ctx context.Context, o PeersOptions) (int, error) {
	got, err := askPeers(ctx, o, pathUpdate, nothing{}, updateServers)
	return got.Nodes, err
}

// AddServer remembers a node, if it answers, and asks it what there is.
func AddServer(ctx context.Context, o PeersOptions, s discovery.Seed) error {
	_, err := askPeers(ctx, o, pathAddServer, s, func(ctx context.Context, d *discovery.Discovery) (answered, error) {
		return addServer(ctx, d, s)
	})
	return err
}

// RefreshProxies dials every known reverse proxy now.
func RefreshProxies(ctx context.Context, o PeersOptions) error {
	_, err := askPeers(ctx, o, pathRefresh, nothing{}, func(ctx context.Context, d *discovery.Discovery) (nothing, error) {
		if _, err := d.Update(ctx); err != nil { // which dials them all too: none was dialled by this process
			d.Refresh(ctx)
		}
		return nothing{}, nil
	})
	return err
}

func updateServers(ctx context.Context, d *discovery.Discovery) (answered, error) {
	n, err := d.Update(ctx)
	return answered{n}, err
}

func addServer(ctx context.Context, d *discovery.Discovery, s discovery.Seed) (answered, error) {
	if _, err := d.Find(ctx, s); err != nil {
		return answered{}, err
	}
	if err := d.Add(s); err != nil {
		return answered{}, err
	}
	return updateServers(ctx, d)
}

func refreshProxies(ctx context.Context, d *discovery.Discovery) (nothing, error) {
	d.Refresh(ctx)
	return nothing{}, nil
}

// peersFailure gives an error of asking other nodes its way out.
func peersFailure(err error) error {
	switch _, ok := errors.AsType[*Failure](err); {
	case err == nil || ok:
		return err
	case errors.Is(err, discovery.ErrNobody):
		return fail(ProxyUnreachable, "name a first one: p2prc --add-server HOST", "%w", err)
	}
	return fail(ProxyUnreachable, "check that p2prc -s --reverse-proxy runs there and that its firewall lets TCP to that port through", "%w", err)
}

// askPeers has the running p2prc do the work, or does it in its place.
func askPeers[In, Out any](ctx context.Context, o PeersOptions, path string, in In, work func(context.Context, *discovery.Discovery) (Out, error)) (Out, error) {
	return askIn(ctx, o.Dir, path, in, func(dir *tables.Dir) (Out, error) {
		return alone(dir, o, func(d *discovery.Discovery) (Out, error) {
			out, err := work(ctx, d)
			return out, peersFailure(err)
		})
	})
}

// alone does what a running p2prc would do, in a directory where none runs.
func alone[Out any](dir *tables.Dir, o PeersOptions, work func(*discovery.Discovery) (Out, error)) (out Out, err error) {
	key, err := identity.LoadOrCreate(dir.Private("node.key"))
	if err != nil {
		return out, stateFailure(err)
	}
	known, err := loadMemory(dir.Private("proxies.json"), o.Log)
	if err != nil {
		return out, stateFailure(err)
	}
	store, err := tables.Open(dir, tables.Options{Log: o.Log})
	if err != nil {
		return out, stateFailure(err)
	}
	d, err := discovery.New(discovery.Options{
		Key: key, Dir: dir, Store: store, Log: o.Log, Filter: netaddr.Filter{Private: o.PrivateAddresses},
		Near: func() []discovery.Near {
			var near []discovery.Near
			for _, p := range known.proxies {
				near = append(near, discovery.Near{Seed: discovery.Seed{Host: p.Host, Port: p.Port}, ID: p.Pin})
			}
			return near
		},
	})
	if err != nil {
		return out, errors.Join(stateFailure(err), store.Close(false))
	}
	if out, err = work(d); err == nil {
		d.Show()
		if err = d.Save(); err != nil {
			err = stateFailure(fmt.Errorf("keeping what was learned: %w", err))
		}
	}
	return out, errors.Join(err, store.Close(false))
}
