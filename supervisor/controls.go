package supervisor

import (
	"context"
	"errors"
	"net/http"
	"time"

	"p2prc/supervisor/control"
	"p2prc/supervisor/discovery"
)

// Further paths of the control socket; the first three are a server's alone.
const (
	pathMap    = "/v1/map"
	pathUnmap  = "/v1/unmap"
	pathReload = "/v1/reload"
	pathWait   = "/v1/wait"
	pathStatus = "/v1/status"
	pathWatch  = "/v1/watch"
	pathLeave  = "/v1/leave"
)

// watchEach is how often a status that is watched is told again at least: ages
// and traffic change all the time.
const watchEach = time.Second

// answer serves the control socket until ctx ends.
func (s *server) answer(ctx context.Context) {
	reloads := make(chan struct{})
	go func() {
		defer close(reloads)
		s.reloads(ctx)
	}()
	defer func() { <-reloads }()
	if err := control.Serve(ctx, s.control, s.controls()); err != nil {
		s.log.Error("answering the local user", "err", err)
	}
}

// reloads reads mappings.toml again whenever it is told to, until ctx ends.
func (s *server) reloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.o.Reload:
			reply, err := s.reload()
			s.notify(Reloaded{ReloadReply: reply, Err: err})
		}
	}
}

// controls are what the local user can ask of the running server.
func (s *server) controls() http.Handler {
	mux := http.NewServeMux()
	peerControls(mux, func(ctx context.Context) (*discovery.Discovery, error) {
		err := s.awaitStore(ctx) // which it is made with
		return s.discovery, err
	})
	mux.Handle("POST "+pathMap, stream(s.mapLive))
	mux.Handle("POST "+pathWait, stream(s.wait))
	mux.Handle("POST "+pathUnmap, handle(s.unmapLive))
	mux.Handle("POST "+pathReload, handle(func(ctx context.Context, _ nothing) (ReloadReply, error) {
		reply, err := s.reload()
		if err == nil {
			wait, cancel := context.WithTimeout(ctx, takeBack)
			defer cancel()
			s.awaitPass(wait, reply.version)
		}
		return reply, err
	}))
	alike(mux, s.status, s.board.next, s.leave)
	return mux
}

// alike are the paths that both roles answer.
func alike(mux *http.ServeMux, status func() Status, changed func() <-chan struct{}, leave context.CancelCauseFunc) {
	mux.Handle("POST "+pathStatus, handle(func(context.Context, nothing) (Status, error) { return status(), nil }))
	mux.Handle("POST "+pathWatch, stream(func(ctx context.Context, _ nothing, tell func(any) error) error {
		for {
			next := changed()
			if err := tell(status()); err != nil {
				return err
			}
			again := time.After(watchEach)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-next:
				// A burst of changes is told once.
				select {
				case <-ctx.Done():
				case <-time.After(watchEach / 10):
				}
			case <-again:
			}
		}
	}))
	mux.Handle("POST "+pathLeave, handle(func(context.Context, nothing) (nothing, error) {
		leave(ErrLeave)
		return nothing{}, nil
	}))
}

// handle and stream answer with failures that keep their kind and their hint.
func handle[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return control.Handle(func(ctx context.Context, in In) (Out, error) {
		out, err := f(ctx, in)
		return out, asRefusal(err)
	})
}

func stream[In any](f func(context.Context, In, func(any) error) error) http.HandlerFunc {
	return control.Stream(func(ctx context.Context, in In, tell func(any) error) error {
		return asRefusal(f(ctx, in, tell))
	})
}

func asRefusal(err error) error {
	f, ok := errors.AsType[*Failure](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled): // or the caller went away, and does not read it
		return &control.Refusal{Message: "p2prc is stopping", Hint: "ask again once it runs"}
	case !ok:
		return err
	}
	return &control.Refusal{Message: err.Error(), Kind: f.Kind.String(), Hint: f.Hint}
}
