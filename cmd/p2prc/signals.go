package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"p2prc/supervisor"
)

// stopping is how signals end a command.
type stopping struct {
	ctx    context.Context // ends with the first signal; its cause is supervisor.ErrLeave for SIGUSR2
	abort  <-chan struct{} // closed by the second
	reload <-chan struct{} // gets what SIGHUP asks of a service; closed by done
	done   func()
}

// onSignals watches for signals until done is called. said is told of the
// first one. The third ends the process at once.
//
// SIGHUP makes a service read its mappings again, as daemons do, unless it
// comes because the terminal that p2prc was started from is gone: then it is
// one of those that stop it.
func onSignals(parent context.Context, service bool, said func(leave bool)) stopping {
	ctx, cancel := context.WithCancelCause(parent)
	abort := make(chan struct{})
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if leaveSignal != nil {
		signal.Notify(signals, leaveSignal)
	}
	// nohup ignores SIGHUP for us, and wants it to stay that way.
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	reload := make(chan struct{}, 1)
	hungUp := terminalGone()
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for n := 1; n <= 2; {
			select {
			case <-quit:
				return
			case sig := <-signals:
				if sig == syscall.SIGHUP && service && !hungUp() {
					select {
					case reload <- struct{}{}:
					default: // one is to be done already
					}
					continue
				}
				if n++; n > 2 {
					close(abort)
					continue
				}
				leave := sig == leaveSignal
				said(leave)
				if leave {
					cancel(supervisor.ErrLeave)
				} else {
					cancel(nil)
				}
			}
		}
		signal.Stop(signals)
	}()
	return stopping{ctx: ctx, abort: abort, reload: reload, done: func() {
		signal.Stop(signals)
		close(quit)
		<-gone
		close(reload)
		cancel(nil)
	}}
}

// survivePipes turns the end of whoever reads stdout or stderr into an error
// of the write, where Go would end the process (os/signal). Ignoring SIGPIPE
// instead would pass that on to frps and frpc.
func survivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
