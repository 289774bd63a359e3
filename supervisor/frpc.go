package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"p2prc/admin"
	"p2prc/frpconf"
	"p2prc/supervisor/child"
	"p2prc/supervisor/failpoint"
	"p2prc/tables"
	"p2prc/tables/atomicfile"
)

// Bounds on what frpc is waited for.
const (
	frpcGrace   = 5 * time.Second      // frpc drains in 0.11 s after POST /api/stop (0.70.1)
	runningWait = 2 * time.Second      // a verdict comes 2-9 ms after a reload
	runningEach = time.Millisecond / 2 // more for each new mapping: 0.7 s with 5,000 (0.70.1)
	quickDeaths = 8                    // an frpc that never ran is given up after so many exits in a row
)

// frpc is the one frpc of a server: all its mappings are in it. The pass owns
// it; nothing here runs by itself.
type frpc struct {
	path string
	name string // of its files: frpc, of further reverse proxies frpc-2 and so on
	dir  *tables.Dir
	log  *slog.Logger

	proc    *child.Process // nil while none runs
	api     *admin.FRPC    // of proc
	backoff *child.Backoff
	startAt time.Time // not before
	vitals  vitals    // of it, for those who ask from outside the pass
	ran     bool      // this frpc's configuration was accepted once
	lastErr string    // why the last one ended
	lostAt  time.Time // since when it is seen without a session; zero with one
}

// adopt takes over an frpc that an earlier p2prc of this directory left.
func (f *frpc) adopt() {
	run, err := child.ReadRun(f.dir.Private(f.name + ".run"))
	if err != nil {
		return // none was left
	}
	proc, _, err := child.Adopt(f.spec(run.Admin, run.Common, run.Mappings))
	if err != nil {
		if !errors.Is(err, child.ErrNoChild) {
			f.log.Warn("looking for an frpc left by an earlier p2prc", "err", err)
		}
		return
	}
	f.take(proc, run.Admin)
	f.ran = true
	f.log.Info("adopted the running frpc", "pid", proc.PID())
}

func (f *frpc) take(proc *child.Process, a child.Admin) {
	f.proc, f.lostAt = proc, time.Time{}
	f.api = frpcAPI(a)
	f.vitals.runs(proc)
}

func frpcAPI(a child.Admin) *admin.FRPC {
	return admin.NewFRPC(admin.Endpoint{Addr: a.Addr, User: a.User, Password: admin.Secret(a.Password)})
}

func (f *frpc) spec(a child.Admin, common, mappings string) child.Spec {
	return child.Spec{
		Name:     "frpc",
		Path:     f.path,
		Args:     []string{"-c", f.dir.Private(f.name + ".toml")},
		Dir:      f.dir.Private(),
		RunFile:  f.dir.Private(f.name + ".run"),
		LogFile:  f.dir.Private(f.name + ".log"),
		Admin:    a,
		Common:   common,
		Mappings: mappings,
		Stop:     func(ctx context.Context, at child.Admin) error { return frpcAPI(at).Stop(ctx) },
		Grace:    frpcGrace,
		Log:      f.log,
	}
}

// done is closed when the running frpc has ended; nil while none runs.
func (f *frpc) done() <-chan struct{} {
	if f.proc == nil {
		return nil
	}
	return f.proc.Done()
}

// reap takes note of an frpc that has ended: when the next may start, and
// whether there is any use in one.
func (f *frpc) reap(now time.Time) *Failure {
	if f.proc == nil {
		return nil
	}
	select {
	case <-f.proc.Done():
	default:
		return nil
	}
	exit := f.proc.Exit()
	f.gone()
	verdict := child.Classify(exit)
	f.lastErr = verdict.Reason
	f.vitals.failed(f.lastErr)
	delay := f.backoff.Next(exit.Ran)
	f.startAt = now.Add(delay)
	f.log.Warn("frpc ended", "err", verdict.Reason, "took", delay)
	if verdict.Kind == child.PortTaken {
		// Its one port is that of its admin API, which was free a moment before.
		f.startAt = now
		verdict.Permanent = false
	}
	if verdict.Permanent && !f.ran {
		return fail(ChildDying, "the whole story is in "+f.dir.Private(f.name+".log"), "frpc cannot run: %s", verdict.Reason)
	}
	if n := f.backoff.Quick(); n >= quickDeaths && !f.ran {
		return fail(ChildDying, "the whole story is in "+f.dir.Private(f.name+".log"), "frpc ended %d times in a row: %s", n, verdict.Reason)
	}
	return nil
}

// lost takes note of a status: frpc lists nothing while it has no session with
// frps. One that did not answer has not lost it.
func (f *frpc) lost(now time.Time, got map[string]admin.Proxy) bool {
	switch {
	case got == nil || len(got) > 0:
		f.lostAt = time.Time{}
	case f.lostAt.IsZero():
		f.lostAt = now
	}
	return !f.lostAt.IsZero()
}

// healthy says that the tunnel was proved: the next end is a first one again.
func (f *frpc) healthy() {
	f.ran, f.lastErr = true, ""
	f.backoff.Healthy()
}

// configuring is what it took to give frpc a configuration.
type configuring int

const (
	unchanged configuring = iota
	reloaded              // its session and its other mappings go on
	replaced              // by another process, or started
)

// ensure makes the running frpc one with this configuration: it starts,
// reloads or replaces it as needed, and reports what it did.
func (f *frpc) ensure(ctx context.Context, now time.Time, conf frpconf.Client) (configuring, error) {
	common, mappings, err := conf.Fingerprint()
	if err != nil {
		return unchanged, fmt.Errorf("writing %s.toml: %w", f.name, err)
	}
	if f.proc != nil {
		run := f.proc.Run()
		if run.Common == common && run.Mappings == mappings {
			return unchanged, nil
		}
		if run.Common == common {
			return reloaded, f.reload(ctx, conf, mappings)
		}
		f.log.Info("replacing frpc: the reverse proxy's part of its configuration changed", "pid", run.PID)
		if err := f.stop(ctx); err != nil {
			return unchanged, err
		}
	}
	if now.Before(f.startAt) {
		return unchanged, nil
	}
	return replaced, f.start(conf, common, mappings)
}

func (f *frpc) write(conf frpconf.Client, a child.Admin) error {
	conf.Admin = frpconf.Web{Addr: a.Addr, User: a.User, Password: frpconf.Secret(a.Password)}
	text, err := conf.Encode()
	if err != nil {
		return fmt.Errorf("writing %s.toml: %w", f.name, err)
	}
	if err := atomicfile.Replace(f.dir.Private(f.name+".toml"), text, 0o600); err != nil {
		return fmt.Errorf("writing %s.toml: %w", f.name, err)
	}
	return nil
}

func (f *frpc) start(conf frpconf.Client, common, mappings string) error {
	a, err := newAdmin()
	if err != nil {
		return err
	}
	if err := f.write(conf, a); err != nil {
		return err
	}
	failpoint.Hit("server-frpc-starting")
	proc, err := child.Start(f.spec(a, common, mappings))
	if err != nil {
		return err
	}
	failpoint.Hit("server-frpc-started")
	f.take(proc, a)
	return nil
}

func (f *frpc) reload(ctx context.Context, conf frpconf.Client, mappings string) error {
	run := f.proc.Run()
	if err := f.write(conf, run.Admin); err != nil {
		return err
	}
	failpoint.Hit("server-frpc-reloading")
	if err := f.api.Reload(ctx); err != nil {
		return fmt.Errorf("reloading frpc: %w", err)
	}
	failpoint.Hit("server-frpc-reloaded")
	return f.proc.UpdateRun(run.Common, mappings)
}

// restart ends a running frpc so that the next pass starts it anew: it takes
// 20 ms, where frpc's own retry after a loss waits 0.2-4.6 s (0.70.1).
func (f *frpc) restart(ctx context.Context, why string) error {
	f.vitals.failed("restarted: " + why)
	f.log.Info("restarting frpc", "err", why)
	f.startAt = time.Time{}
	return f.stop(ctx)
}

func (f *frpc) stop(ctx context.Context) error {
	if f.proc == nil {
		return nil
	}
	err := f.proc.Stop(ctx)
	f.gone()
	return err
}

// leave lets frpc run on for a later p2prc.
func (f *frpc) leave() {
	if f.proc != nil {
		f.proc.Release()
		f.gone()
	}
}

// gone forgets the process that ran, and the connection to its admin API.
func (f *frpc) gone() {
	f.api.Close()
	f.proc, f.api = nil, nil
	f.vitals.runs(nil)
}

// newAdmin is where a child's admin API will listen: a port that was free a
// moment ago, and a password of this start. A child that finds the port taken
// ends, and the next start asks for another.
func newAdmin() (child.Admin, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return child.Admin{}, fmt.Errorf("looking for a free loopback port: %w", err)
	}
	defer ln.Close()
	addr := netip.MustParseAddrPort(ln.Addr().String())
	return child.Admin{Addr: addr, User: "p2prc", Password: child.Secret(rand.Text())}, nil
}
