package supervisor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thejerf/suture/v4"

	"p2prc/admin"
	"p2prc/frpconf"
	"p2prc/supervisor/child"
	"p2prc/supervisor/failpoint"
	"p2prc/tables"
	"p2prc/tables/atomicfile"
)

// Bounds on what frps is waited for.
const (
	frpsGrace = 2 * time.Second  // frps has no clean stop: SIGTERM ends it in 1-8 ms (0.70.1)
	frpsReady = 10 * time.Second // ready in 28-37 ms with an EC certificate, on a Pi in seconds
	readyPoll = 2 * time.Millisecond

	frpsEvery  = 4 * time.Second // how often a running frps is asked whether it lives, and has to answer
	frpsMisses = 3               // in a row, and it is replaced
	frpsTries  = 4               // a first frps that never served is given up after so many, in seconds
)

// gateFacts stand in frps's run file: frps keeps asking at this address and
// path for as long as it lives, whichever p2prc answers.
type gateFacts struct {
	Addr netip.AddrPort `json:"addr"`
	Path string         `json:"path"`
}

func (g gateFacts) conf() frpconf.Gate {
	return frpconf.Gate{Addr: g.Addr, Path: frpconf.Secret(g.Path)}
}

// frps keeps the one frps of a reverse proxy running.
type frps struct {
	path     string
	dir      *tables.Dir
	log      *slog.Logger
	conf     frpconf.Server // but for the admin API and the gate
	cert     []byte         // what conf.CertFile holds
	gate     *gate
	backoff  *child.Backoff
	starting func() // before each start: no port is held by frps
	back     func() // after a restart
	abort    <-chan struct{}

	// leaving is set before the context ends. Its cause would not do: suture
	// cancels what it serves by itself, and is sometimes the first.
	leaving atomic.Bool

	first chan struct{} // closed when frps serves for the first time
	fatal chan error    // what ended Serve for good

	mu      sync.Mutex // guards the rest
	proc    *child.Process
	api     *admin.FRPS
	changed chan struct{} // closed when proc is another one; nil: nobody waits
	adopted bool
	vitals  vitals
}

// admin is the API of the running frps; nil while none runs.
func (f *frps) admin() *admin.FRPS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.api
}

func (f *frps) set(proc *child.Process, a child.Admin) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vitals.runs(proc)
	if f.api != nil {
		f.api.Close()
	}
	f.proc, f.api = proc, nil
	if proc != nil {
		f.api = frpsAPI(a)
	}
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

func frpsAPI(a child.Admin) *admin.FRPS {
	return admin.NewFRPS(admin.Endpoint{Addr: a.Addr, User: a.User, Password: admin.Secret(a.Password)})
}

func (f *frps) spec(a child.Admin, common string, facts json.RawMessage) child.Spec {
	return child.Spec{
		Name:    "frps",
		Path:    f.path,
		Args:    []string{"-c", f.dir.Private("frps.toml")},
		Dir:     f.dir.Private(),
		Env:     []string{"SSL_CERT_FILE=" + f.dir.Private("gate.crt"), "SSL_CERT_DIR=/nonexistent"},
		RunFile: f.dir.Private("frps.run"),
		LogFile: f.dir.Private("frps.log"),
		Admin:   a,
		Common:  common,
		Extra:   facts,
		Grace:   frpsGrace,
		Log:     f.log,
	}
}

// Serve starts or adopts frps and keeps it running until ctx ends. Then it
// stops frps, unless p2prc is leaving.
func (f *frps) Serve(ctx context.Context) error {
	proc, err := f.adopt(ctx)
	if err != nil {
		return f.end(err)
	}
	tries := 0
	for served := false; ; {
		if proc == nil {
			if proc, err = f.start(); err != nil {
				return f.end(err)
			}
		}
		err := f.await(ctx, proc)
		if err == nil {
			f.backoff.Healthy()
			if served {
				f.back()
			} else {
				close(f.first)
				served = true
			}
			err = f.watch(ctx, proc)
		}
		if ctx.Err() != nil {
			return f.stop(ctx, proc)
		}
		if ended(proc) {
			verdict := child.Classify(proc.Exit())
			tries++
			switch {
			case verdict.Port == proc.Run().Admin.Addr.Port() && tries < frpsTries:
				// That of its admin API, which was free a moment before: another one.
			case verdict.Permanent && !served:
				return f.end(fail(ChildDying, f.hint(verdict), "frps cannot run: %s", verdict.Reason))
			case tries >= frpsTries && !served:
				return f.end(fail(ChildDying, f.hint(verdict), "frps does not stay up, %d tries: %s", tries, verdict.Reason))
			}
			err = errors.New(verdict.Reason)
		} else if err := proc.Stop(ctx); err != nil {
			return f.end(err)
		}
		delay := f.backoff.Next(proc.Exit().Ran)
		f.vitals.failed(errText(err))
		f.log.Warn("frps ended", "err", err, "took", delay)
		f.starting()
		f.set(nil, child.Admin{})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		proc = nil
	}
}

func (f *frps) hint(v child.Verdict) string {
	flag := "--frp-port"
	switch {
	case v.Port == 0:
	case v.Port == f.conf.HTTPPort:
		flag = "--http-port"
	case v.Port == f.conf.HTTPSPort:
		flag = "--https-port"
	}
	switch {
	case v.Kind == child.NotPermitted:
		return fmt.Sprintf("a port below 1024 needs root or CAP_NET_BIND_SERVICE: run p2prc with it, or pass another %s than %d", flag, v.Port)
	case v.Port != 0:
		return fmt.Sprintf("something else uses port %d: end it, or pass another %s", v.Port, flag)
	}
	return "the whole story is in " + f.dir.Private("frps.log")
}

// end reports what cannot be cured and ends the tree of services.
func (f *frps) end(err error) error {
	select {
	case f.fatal <- err:
	default:
	}
	return suture.ErrTerminateSupervisorTree
}

// adopt takes over the frps that an earlier p2prc of this directory left, if
// it still runs as it would be started now. The gate is opened where that
// frps asks; a new frps gets a gate of its own.
func (f *frps) adopt(ctx context.Context) (*child.Process, error) {
	run, err := child.ReadRun(f.dir.Private("frps.run"))
	if err != nil {
		return nil, f.gate.listen(gateFacts{}) // none was left
	}
	proc, _, err := child.Adopt(f.spec(run.Admin, run.Common, run.Extra))
	if err != nil {
		if !errors.Is(err, child.ErrNoChild) {
			f.log.Warn("looking for an frps left by an earlier p2prc", "err", err)
		}
		return nil, f.gate.listen(gateFacts{})
	}
	err = f.reopen(run)
	if err == nil {
		f.log.Info("adopted the running frps", "pid", proc.PID())
		f.set(proc, run.Admin)
		f.adopted = true
		return proc, nil
	}
	f.log.Warn("replacing the running frps", "err", err, "pid", proc.PID())
	if err := proc.Stop(ctx); err != nil {
		return nil, err
	}
	return nil, f.gate.listen(gateFacts{})
}

// reopen opens the gate where a running frps asks, if that frps runs as it
// would be started now.
func (f *frps) reopen(run child.Run) error {
	var facts gateFacts
	if err := json.Unmarshal(run.Extra, &facts); err != nil {
		return fmt.Errorf("reading its run file: %w", err)
	}
	conf := f.conf
	conf.Gate = facts.conf()
	common, err := f.fingerprint(conf)
	if err != nil {
		return err
	}
	if common != run.Common {
		return errors.New("its configuration changed")
	}
	return f.gate.listen(facts)
}

// fingerprint tells a running frps from one that would be started now. Its
// certificate is in the configuration by name only.
func (f *frps) fingerprint(conf frpconf.Server) (string, error) {
	common, err := conf.Fingerprint()
	return fmt.Sprintf("%s-%.8x", common, sha256.Sum256(f.cert)), err
}

func (f *frps) start() (*child.Process, error) {
	a, err := newAdmin()
	if err != nil {
		return nil, err
	}
	facts, err := json.Marshal(f.gate.facts)
	if err != nil {
		return nil, fmt.Errorf("starting frps: %w", err)
	}
	conf := f.conf
	conf.Gate = f.gate.facts.conf()
	common, err := f.fingerprint(conf)
	if err != nil {
		return nil, fmt.Errorf("writing frps.toml: %w", err)
	}
	conf.Admin = frpconf.Web{Addr: a.Addr, User: a.User, Password: frpconf.Secret(a.Password)}
	text, err := conf.Encode()
	if err != nil {
		return nil, fmt.Errorf("writing frps.toml: %w", err)
	}
	if err := atomicfile.Replace(f.dir.Private("frps.toml"), text, 0o600); err != nil {
		return nil, fmt.Errorf("writing frps.toml: %w", err)
	}
	failpoint.Hit("proxy-frps-starting")
	proc, err := child.Start(f.spec(a, common, facts))
	if err != nil {
		return nil, err
	}
	failpoint.Hit("proxy-frps-started")
	f.set(proc, a)
	return proc, nil
}

// await returns once frps answers and listens where frpc logs in, or why not.
func (f *frps) await(ctx context.Context, proc *child.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, frpsReady, errors.New("it does not answer"))
	defer cancel()
	for {
		info, err := f.admin().Info(ctx)
		if err == nil {
			f.vitals.version(info.Version)
			return f.dialLogin(ctx)
		}
		select {
		case <-proc.Done():
			return errors.New("it ended")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readyPoll):
		}
	}
}

// watch returns once frps has ended, or ctx, or why frps is as good as dead: a
// process that hangs holds its ports, and every tunnel with them.
func (f *frps) watch(ctx context.Context, proc *child.Process) error {
	tick := time.NewTicker(frpsEvery)
	defer tick.Stop()
	for misses := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-proc.Done():
			return nil
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(ctx, frpsEvery)
		_, err := f.admin().Info(asking)
		cancel()
		if err == nil {
			misses = 0
		} else if misses++; misses == frpsMisses && ctx.Err() == nil && !ended(proc) {
			return fmt.Errorf("it hangs: %w", err)
		}
	}
}

// dialLogin sees that frps listens where frpc is going to log in.
func (f *frps) dialLogin(ctx context.Context) error {
	host := f.conf.BindAddr
	if !host.IsValid() || host.IsUnspecified() {
		host = loopback
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", netip.AddrPortFrom(host, f.conf.BindPort).String())
	if err != nil {
		return fmt.Errorf("its login port: %w", err)
	}
	return conn.Close()
}

func (f *frps) stop(ctx context.Context, proc *child.Process) error {
	if f.leaving.Load() {
		proc.Release()
		f.admin().Close()
		return nil
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*frpsGrace)
	defer cancel()
	defer onAbort(f.abort, cancel)()
	return proc.Stop(stopping)
}

// restart ends the running frps, and returns once everything knows that it is
// gone; Serve starts the next. All tunnels are back in about 1.4 s (0.65.0): frp
// has no other way to throw a node out.
func (f *frps) restart(ctx context.Context) error {
	f.mu.Lock()
	proc := f.proc
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	changed := f.changed
	f.mu.Unlock()
	if proc == nil {
		return nil
	}
	if err := proc.Stop(ctx); err != nil {
		return err
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func errText(err error) string {
	if err == nil {
		return "it ended"
	}
	return err.Error()
}
