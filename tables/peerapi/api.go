package peerapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// nameHeader carries what a node calls itself, so that a knock has a name.
const nameHeader = "P2PRC-Name"

// The calls of the node API.
const (
	pathHello   = "/v1/hello"
	pathReserve = "/v1/reserve"
	pathReport  = "/v1/report"
	pathRelease = "/v1/release"
	pathEvents  = "/v1/events"
	pathWitness = "/v1/witness"
)

// statusOf is for whoever reads HTTP; p2prc reads the code.
var statusOf = map[Code]int{
	CodeBadRequest:  http.StatusBadRequest,
	CodeNotAdmitted: http.StatusForbidden,
	CodeRevoked:     http.StatusForbidden,
	CodeBadToken:    http.StatusForbidden,
	CodeQuota:       http.StatusForbidden,
	CodePoolFull:    http.StatusConflict,
	CodePortTaken:   http.StatusConflict,
	CodeDomainTaken: http.StatusConflict,
	CodeNoDomains:   http.StatusConflict,
	CodeFRPTooOld:   http.StatusConflict,
	CodeNotAProxy:   http.StatusNotFound,
	CodeUnavailable: http.StatusServiceUnavailable,
}

// api answers the node API on connections of any peer.
type api struct {
	service Service // nil: this node is not a reverse proxy
	guests  *guests
	calls   *limiter
	log     *repeats
}

// route is one call of the API.
type route struct {
	method string
	open   bool // to nodes that are not admitted
	serve  func(http.ResponseWriter, *http.Request, Peer) error
}

func (a *api) routes() map[string]route {
	s := a.service
	return map[string]route{
		pathHello:   {http.MethodGet, true, a.hello},
		pathEvents:  {http.MethodGet, false, a.events},
		pathWitness: {http.MethodPost, true, call(s.Witness)},
		pathReserve: {http.MethodPost, false, call(s.Reserve)},
		pathReport:  {http.MethodPost, false, call(s.Report)},
		pathRelease: {http.MethodPost, false, call(func(ctx context.Context, p Peer, r ReleaseRequest) (struct{}, error) {
			return struct{}{}, s.Release(ctx, p, r)
		})},
	}
}

// handler answers requests whose context holds the guest that sent them.
func (a *api) handler() http.Handler {
	var routes map[string]route
	if a.service != nil {
		routes = a.routes()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := guestOf(r.Context())
		if err := a.serve(w, r, g, routes); err != nil {
			a.refuse(w, g, a.refusal(r.Context(), g.id, err))
		}
	})
}

func (a *api) serve(w http.ResponseWriter, r *http.Request, g *guest, routes map[string]route) error {
	if !a.calls.allow(g.id, time.Now()) {
		return &Refusal{CodeUnavailable, "too many requests, try again"}
	}
	if a.service == nil {
		return &Refusal{CodeNotAProxy, "this node is not a reverse proxy"}
	}
	rt, ok := routes[r.URL.Path]
	if !ok || r.Method != rt.method {
		return badRequest("no such call: %s %s", printable(r.Method), printable(r.URL.Path))
	}
	peer := Peer{ID: g.id, Name: r.Header.Get(nameHeader), From: g.from}
	if peer.Name != "" {
		if err := tables.CheckName(peer.Name); err != nil {
			return badRequest("%w", err)
		}
	}
	if !rt.open {
		if err := a.service.Admit(peer); err != nil {
			return err
		}
		if err := a.guests.admit(g); err != nil {
			return err
		}
	}
	return rt.serve(w, r, peer)
}

// refusal is what the node hears of an error. That it hung up is no news.
func (a *api) refusal(ctx context.Context, id identity.ID, err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	if ctx.Err() == nil {
		a.log.warn("answering a node", id, err)
	}
	return &Refusal{CodeUnavailable, "the reverse proxy could not do that now, its log says why"}
}

// refuse ends the connection of a peer that is not admitted, or not any more.
func (a *api) refuse(w http.ResponseWriter, g *guest, refusal *Refusal) {
	status, ok := statusOf[refusal.Code]
	if !ok {
		status = http.StatusForbidden
	}
	if !g.admitted || refusal.Code == CodeNotAdmitted || refusal.Code == CodeRevoked {
		w.Header().Set("Connection", "close")
	}
	answer(w, status, refusal)
}

func (a *api) hello(w http.ResponseWriter, r *http.Request, peer Peer) error {
	h, err := a.service.Hello(r.Context(), peer)
	if err != nil {
		return err
	}
	g := guestOf(r.Context())
	if h.Admitted {
		if err := a.guests.admit(g); err != nil {
			return err
		}
	}
	if !g.admitted {
		w.Header().Set("Connection", "close")
	}
	answer(w, http.StatusOK, h)
	return nil
}

// call is a POST with a JSON body and a JSON answer.
func call[In, Out any, P interface {
	*In
	request
}](do func(context.Context, Peer, In) (Out, error)) func(http.ResponseWriter, *http.Request, Peer) error {
	return func(w http.ResponseWriter, r *http.Request, peer Peer) error {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
		if err != nil {
			return badRequest("reading the request: %w", err)
		}
		var in In
		if err := decodeRequest(body, P(&in)); err != nil {
			return badRequest("reading the request: %w", err)
		}
		out, err := do(r.Context(), peer, in)
		if err != nil {
			return err
		}
		answer(w, http.StatusOK, out)
		return nil
	}
}

// answer writes a JSON body. A peer that does not take it is gone: it will ask
// again, and every call may be repeated.
func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
