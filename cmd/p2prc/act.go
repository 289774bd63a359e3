package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"

	"p2prc/supervisor"
	"p2prc/supervisor/discovery"
	"p2prc/supervisor/notify"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// run does the one thing that the flags ask for.
func (c *CLI) run(ctx context.Context, say *printer, getenv func(string) string) error {
	if warning := c.settings.file.warning; warning != "" {
		say.warn(warning)
	}
	service := c.Flags.Server
	var socket *notify.Socket
	if service {
		var err error
		if socket, err = notify.Open(); err != nil {
			say.warn(err.Error())
		}
		defer socket.Close()
	}
	s := onSignals(ctx, service, func(leave bool) {
		switch {
		case leave:
			say.note("leaving, the tunnels stay up")
			_ = socket.Stopping("leaving, the tunnels stay up")
		case service:
			say.note("stopping; Ctrl-C again kills what still runs")
			_ = socket.Stopping("stopping")
		}
	})
	defer s.done()

	switch {
	case c.Version:
		return c.versions(s.ctx, say)
	case c.Completion != "":
		_, err := io.WriteString(say.out, completions[c.Completion](c.app))
		return written(err)
	case c.Man:
		_, err := io.WriteString(say.out, manPage(c.app, ownVersion()))
		return written(err)
	}
	dir, err := tables.FindDir(c.StateDir, getenv)
	if err != nil {
		return &supervisor.Failure{Kind: supervisor.StateUnusable, Err: err, Hint: "pass --state-dir DIR"}
	}
	if c.StateDir != "" {
		say.dirFlag = " --state-dir " + shellQuote(dir)
	}
	switch {
	case service:
		err = c.serve(s, say, socket, dir)
	case c.named != "":
		err = c.speak(s.ctx, say, dir)
	default:
		at := place{dir: dir, named: c.StateDir != ""}
		if !at.named && getenv("P2PRC") == "" {
			at.system = tables.SystemDir
		}
		if err = actAsOwner(dir); err == nil {
			err = c.answer(s.ctx, say, at)
		}
	}
	select {
	case <-s.abort:
		return errors.Join(errInterrupted, err)
	default:
	}
	if !service && err != nil && s.ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// serve runs a role until it is asked to stop.
func (c *CLI) serve(s stopping, say *printer, socket *notify.Socket, dir string) error {
	f := &c.Flags
	token, err := c.token()
	if err != nil {
		return err
	}
	log, err := c.log(say)
	if err != nil {
		return err
	}
	unit := &unit{socket: socket}
	common := supervisor.Common{
		Dir:     dir,
		Name:    string(c.Name),
		Version: ownVersion(),
		Log:     log,
		Notify: func(n supervisor.Notice) {
			say.notice(n)
			if err := unit.tell(n); err != nil {
				log.Warn("systemd does not listen", "err", err)
			}
		},
		Abort:            s.abort,
		Alive:            socket.Loop,
		PrivateAddresses: c.PrivateAddresses,
	}
	defer beating(socket)()
	if f.ReverseProxy {
		go func() {
			for range s.reload {
				say.note("SIGHUP: a reverse proxy has nothing to read again")
			}
		}()
		return supervisor.ReverseProxy(s.ctx, supervisor.ReverseProxyOptions{
			Common:        common,
			PublicAddress: f.PublicAddress.Addr,
			ListenHost:    f.Listen.host,
			ListenPort:    f.listenPort(),
			FRPPort:       uint16(f.FRPPort),
			Ports:         tables.PortRange(f.Ports),
			Open:          f.Open,
			MaxPerNode:    f.MaxPortsPerNode,
			HTTPPort:      uint16(f.HTTPPort),
			HTTPSPort:     uint16(f.HTTPSPort),
			Token:         token,
			Join:          seeds(f.Join),
			MeshToken:     f.MeshToken.Token,
			FRPS:          c.FRPS,
		})
	}
	ups := c.upstreams(token)
	for _, up := range ups {
		say.note("connecting to the reverse proxy %s", up)
	}
	if c.auto() {
		say.note("choosing a reverse proxy")
	}
	maps := make([]supervisor.Map, len(f.Map))
	for i, m := range f.Map {
		maps[i] = supervisor.Map(m)
	}
	return supervisor.Connect(s.ctx, supervisor.ConnectOptions{
		Common:   common,
		Proxies:  ups,
		Auto:     c.auto(),
		Token:    token,
		NoWait:   f.NoWait,
		Maps:     maps,
		MapFiles: c.mapFiles(dir),
		Reload:   s.reload,
		Listen:   f.Listen.addrPort(),
		FRPC:     c.FRPC,
	})
}

// log is what goes on, for who looks into it.
func (c *CLI) log(say *printer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, usage("", "--log-level: %w", err)
	}
	return slog.New(slog.NewTextHandler(say.err, &slog.HandlerOptions{Level: level})), nil
}

// beating feeds systemd's watchdog until the result is called.
func beating(socket *notify.Socket) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- socket.Serve(ctx) }()
	return func() { cancel(); <-done }
}

// upstreams are the reverse proxies to use. Of a join string's token and the
// one of --token, the one from the stronger source joins.
func (c *CLI) upstreams(t identity.Token) []supervisor.Upstream {
	from := c.settings.source
	own := from["connect-reverse-proxy"] > max(from["token"], from["token-file"])
	var ups []supervisor.Upstream
	for _, up := range c.Flags.ConnectReverseProxy {
		if up.auto {
			continue
		}
		one := supervisor.Upstream{Host: up.Host, Port: up.Port, Pin: up.Pin, Token: t}
		if own && !up.Token.Zero() {
			one.Token = up.Token
		}
		ups = append(ups, one)
	}
	return ups
}

// auto reports whether p2prc is to choose reverse proxies.
func (c *CLI) auto() bool {
	return slices.ContainsFunc(c.Flags.ConnectReverseProxy, func(u upstream) bool { return u.auto })
}

// mapFiles is where mappings.toml may be: in the state directory, or beside
// the config file.
func (c *CLI) mapFiles(dir string) []string {
	files := []string{filepath.Join(dir, "mappings.toml")}
	if c.settings.confPath != "" {
		if beside := filepath.Join(filepath.Dir(c.settings.confPath), "mappings.toml"); beside != files[0] {
			files = append(files, beside)
		}
	}
	return files
}

// token is the one to admit nodes by or to join with, of --token or --token-file.
func (c *CLI) token() (identity.Token, error) {
	if c.TokenFile == "" {
		return c.Token.Token, nil
	}
	t, err := identity.LoadToken(c.TokenFile)
	if err != nil {
		return t, usage("a token file holds the token and nothing else, and only its owner can read it (chmod 600)", "%w", err)
	}
	return t, nil
}

func seeds(flags []seed) []discovery.Seed {
	out := make([]discovery.Seed, len(flags))
	for i, s := range flags {
		out[i] = discovery.Seed(s)
	}
	return out
}

// peers asks other nodes.
func (c *CLI) peers(ctx context.Context, say *printer, dir string) error {
	log, err := c.log(say)
	if err != nil {
		return err
	}
	f := &c.Flags
	o := supervisor.PeersOptions{Dir: dir, Log: log, PrivateAddresses: c.PrivateAddresses}
	switch {
	case f.Refresh:
		return supervisor.RefreshProxies(ctx, o)
	case f.UpdateServerList:
		n, err := supervisor.UpdateServers(ctx, o)
		if err == nil {
			say.note("%s answered; list: p2prc%s --list-servers, --view-rps, --view-rpm", counted(n, "node"), say.dirFlag)
		}
		return err
	}
	s := discovery.Seed(f.AddServer)
	if err := supervisor.AddServer(ctx, o, s); err != nil {
		return err
	}
	say.note("%s is known; list: p2prc%s --list-servers, --view-rps, --view-rpm", s, say.dirFlag)
	return nil
}

// answer does what takes no time.
func (c *CLI) answer(ctx context.Context, say *printer, at place) error {
	f := &c.Flags
	switch {
	case f.ListServers:
		return see(ctx, serverView, say, at, c)
	case f.AddServer != seed{}, f.UpdateServerList:
		return c.peers(ctx, say, at.dir)
	case f.ViewRPS && f.Refresh:
		if err := c.peers(ctx, say, at.dir); err != nil {
			return err
		}
		return see(ctx, proxyView, say, at, c)
	case f.ViewRPS:
		return see(ctx, proxyView, say, at, c)
	case f.ViewRPM:
		return see(ctx, mappingView, say, at, c)
	case f.Allow != "":
		if err := supervisor.Allow(ctx, at.dir, identity.ID(f.Allow)); err != nil {
			return err
		}
		say.note("node %s is admitted", f.Allow)
		return nil
	case f.Revoke != "":
		if err := supervisor.Revoke(ctx, at.dir, identity.ID(f.Revoke)); err != nil {
			return err
		}
		say.note("node %s is shut out", f.Revoke)
		return nil
	case f.RevokeToken:
		join, err := supervisor.RevokeToken(ctx, at.dir)
		if err != nil {
			return err
		}
		say.note("the old token admits nobody any more; nodes already admitted stay")
		return say.print(join)
	default:
		join, err := supervisor.JoinString(ctx, at.dir)
		if err != nil {
			return err
		}
		return say.print(join)
	}
}

// see shows a view as the flags say.
func see[T comparable](ctx context.Context, v view[T], say *printer, at place, c *CLI) error {
	if c.Flags.Watch {
		return v.watch(ctx, say, at, c.look())
	}
	return v.show(say, at, c.look())
}

func (c *CLI) look() look {
	f := &c.Flags
	how := look{json: f.JSON || f.Output == asJSON, wide: f.Output == asWide, bare: f.NoHeaders, name: c.pattern()}
	for _, state := range f.State {
		how.states = append(how.states, tables.State(state))
	}
	return how
}

// pattern is the --name of a view. The name of this node, which the
// environment or the config file may give, is not meant.
func (c *CLI) pattern() string {
	if c.settings.source["name"] != fromCommandLine {
		return ""
	}
	return string(c.Name)
}

// versions prints p2prc's own and those of the frp it would run. That one is
// missing is an answer, not a failure.
func (c *CLI) versions(ctx context.Context, say *printer) error {
	text := fmt.Sprintf("p2prc  %s\n", ownVersion())
	for _, frp := range supervisor.FRPVersions(ctx, c.FRPS, c.FRPC) {
		if frp.Err != nil {
			text += fmt.Sprintf("%-5s  %s\n", frp.Name, printable(frp.Err.Error()))
		} else {
			text += fmt.Sprintf("%-5s  %-8s  %s\n", frp.Name, printable(frp.Version), printable(frp.Path))
		}
	}
	_, err := io.WriteString(say.out, text)
	return written(err)
}
