package supervisor

import (
	"context"
	"errors"
	"slices"
	"time"
)

// over is an attachment that has stopped, and why.
type over struct {
	a   *attachment
	err error // nil: it was asked to
}

// serve runs the attachments until ctx ends or none is left, and returns when
// all have stopped. Where the reverse proxies are p2prc's to choose there may be
// none for a while.
func (s *server) serve(ctx context.Context) error {
	ends := make(chan over)
	running := 0
	launch := func(a *attachment) {
		running++
		own, cancel := context.WithCancelCause(ctx)
		a.detach = func() { cancel(nil) }
		go func() {
			defer cancel(nil)
			ends <- over{a, a.serve(own)}
		}()
	}
	for _, a := range s.standing.all() {
		launch(a)
	}
	var again <-chan time.Time
	if s.o.Auto {
		ticker := time.NewTicker(chooseEvery)
		defer ticker.Stop()
		again = ticker.C
	}
	var failed, stopped []error
	stop := ctx.Done()
	for running > 0 || s.o.Auto && ctx.Err() == nil {
		select {
		case e := <-ends:
			running--
			if ctx.Err() != nil { // all of it stops: its proxy is still to hear the goodbye
				stopped = append(stopped, e.err)
				continue
			}
			s.drop(e.a)
			if e.err != nil {
				failed = append(failed, e.err)
				if running > 0 || s.o.Auto {
					s.log.Error("a reverse proxy is not used any more", "proxy", e.a.proxy(), "err", e.err)
				}
				s.choice.avoid(e.a.proxyID(), time.Now().Add(avoidFor))
			}
		case <-again:
			s.choose(ctx, launch)
		case <-stop:
			stop, again = nil, nil
		}
	}
	if ctx.Err() != nil {
		return errors.Join(stopped...)
	}
	return errors.Join(failed...)
}

// drop forgets an attachment that has stopped.
func (s *server) drop(a *attachment) {
	s.claims.put(a, nil)
	if a.listening {
		_ = s.tree.Remove(a.linked) // the tree may be gone with it
	}
	if s.standing.drop(a) {
		for _, o := range s.standing.all() {
			o.poke()
		}
	}
}

// serve runs the passes of one attachment until ctx ends, and stops it. One
// that will stand by lets the first go ahead, to ask for the port that it got.
func (a *attachment) serve(ctx context.Context) error {
	defer a.s.board.leave(a)
	if a.chosen {
		if err := a.contact(ctx); err != nil || ctx.Err() != nil {
			return errors.Join(err, wanted(ctx))
		}
	}
	if all := a.s.standing.all(); slices.Index(all, a) > 0 {
		select {
		case <-a.s.port.ready:
		case <-time.After(settleFor):
		case <-ctx.Done():
			return wanted(ctx)
		}
	}
	a.recall()
	a.frpc.adopt()
	err := a.passes(ctx)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	defer onAbort(a.s.o.Abort, cancel)()
	return errors.Join(err, a.stop(stopping, err == nil && leaving(ctx)))
}
