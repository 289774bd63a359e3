package supervisor

import (
	"context"
	"math/rand/v2"
	"time"

	"p2prc/supervisor/failpoint"
)

// How often each step is looked at again, and how long one look may take.
// Repeated looks are spread by a tenth, so that a thousand nodes do not knock
// in step.
const (
	canaryEvery  = 5 * time.Second
	canaryAgain  = time.Second // after a miss
	canaryWait   = 2 * time.Second
	canaryMisses = 2 // in a row, and the rows go down
	canaryHang   = 4 // in a row, and an frpc that says running is replaced
	localEvery   = 2 * time.Second
	reportEvery  = 15 * time.Second
	dialEvery    = 10 * time.Minute // each public port, by a bare connect
	dialAgain    = 15 * time.Second // a port that nobody could dial
	retryEvery   = 2 * time.Second  // a start error, a refusal

	reconnectAfter = 4 * time.Second // without a session, while the reverse proxy answers
	settleFor      = 3 * time.Second // after the first lease: what is not up by then is told as it is
	dialParallel   = 256
)

// pace is when each step is due again.
type pace struct {
	reserve, witness, status, force, local, report, dial, settled time.Time
}

// tunnel is step (b) of the proof for one protocol: the node's own mapping,
// dialled at its public address and answered by this very process.
type tunnel struct {
	canary  *mapping
	verdict verdict
	misses  int
	due     time.Time
	outside *witness // dials for this node, which cannot; nil: it can
}

func spread(d time.Duration) time.Duration {
	return d - d/20 + rand.N(d/10)
}

// listenUp makes the link stay up and hear what the proxy tells.
func (a *attachment) listenUp() {
	if !a.listening {
		a.listening = true
		a.s.discover()
		a.linked = a.s.tree.Add(service{"link to " + a.proxy(), a.link.Serve})
	}
}

// passes runs the steps from request to row over and over: each pass does what
// is due and finds the rest done. It returns nil for a wanted stop.
func (a *attachment) passes(ctx context.Context) error {
	if _, down := a.link.state(); down != nil {
		a.listenUp()
	}
	beat, ended := a.s.o.loop(a.proxy())
	defer ended()
	for {
		beat()
		if err := a.pass(ctx); err != nil {
			return err
		}
		// Only now: the connection for events takes as long as all of a pass, and
		// what happens before it is there the next pass looks for.
		a.listenUp()
		timer := time.NewTimer(a.idle(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return wanted(ctx)
		case <-a.frpc.done():
		case <-a.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idle is how long there is nothing to do.
func (a *attachment) idle(now time.Time) time.Duration {
	next := a.due.report
	if _, down := a.link.state(); a.renewing && down == nil {
		next = now
	}
	for _, t := range []time.Time{a.due.reserve, a.due.witness, a.due.force, a.due.local, a.due.dial, a.due.settled, a.frpc.startAt} {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	for _, t := range a.tunnels {
		if !t.due.IsZero() && t.due.Before(next) {
			next = t.due
		}
	}
	return max(next.Sub(now), time.Millisecond)
}

func (a *attachment) pass(ctx context.Context) error {
	now := time.Now()
	if a.jump.jumped(now) {
		a.log.Warn("the clock jumped: every row waits for the renewal of its lease")
		a.suspect, a.due.report = true, now
	}
	frpsUp, changed := a.link.take()
	if changed {
		a.probeNow(now)
	}
	if f := a.shutOut(); f != nil {
		return f
	}
	if f := a.frpc.reap(now); f != nil {
		return f
	}
	if err := a.takeMaps(ctx); err != nil {
		return err
	}
	if err := a.getLeases(ctx); err != nil {
		return err
	}
	a.dialPorts(ctx)
	failpoint.Hit("server-port-dialled")
	did := a.configure(ctx)
	a.releaseUnused(ctx)
	if did == replaced { // what was proved was proved through another frpc
		a.fresh = true
		a.probeNow(time.Now())
	}
	a.askFRPC(ctx, did, frpsUp)
	failpoint.Hit("server-frpc-running")
	a.probeTunnels(ctx)
	failpoint.Hit("server-tunnel-probed")
	a.lookAtServices(ctx)
	if a.told && ctx.Err() == nil {
		// What is wrong shows now: the proxy may be slow to answer, or gone.
		if err := a.publish(ctx, true); err != nil {
			return err
		}
	}
	a.tellProxy(ctx)
	failpoint.Hit("server-reported")
	if ctx.Err() != nil {
		return nil // what a cancelled step saw is not worth a row
	}
	return a.publish(ctx, false)
}

// probeNow makes the next pass look at everything that frps has a part in.
func (a *attachment) probeNow(now time.Time) {
	a.due.status, a.due.report = now, now
	for _, t := range a.tunnels {
		t.due = now
	}
}
