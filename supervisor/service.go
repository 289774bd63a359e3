package supervisor

import (
	"context"
	"errors"
	"time"

	"p2prc/supervisor/failpoint"
	"p2prc/supervisor/nodes"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// pingEvery keeps the event streams alive; a node gives one up after 30 s of silence.
const pingEvery = 10 * time.Second

// Admit is asked before every call but Hello. An open proxy takes any node in
// as it comes.
func (r *reverseProxy) Admit(peer peerapi.Peer) error {
	n, known := r.nodes.Lookup(peer.ID)
	switch {
	case known && n.Revoked.IsZero():
		return nil
	case known:
		return &peerapi.Refusal{Code: peerapi.CodeRevoked, Message: "this node was revoked"}
	case !r.o.Open:
		return &peerapi.Refusal{Code: peerapi.CodeNotAdmitted, Message: "the reverse proxy does not know this node"}
	}
	_, err := r.nodes.Enrol(peer.ID, peer.Name, nodes.ByOpen)
	return err
}

// enrol lets a node in that has proved the token.
func (r *reverseProxy) enrol(peer peerapi.Peer) error {
	if n, known := r.nodes.Lookup(peer.ID); known && !n.Revoked.IsZero() {
		return &peerapi.Refusal{Code: peerapi.CodeRevoked, Message: "this node was revoked"}
	}
	if _, err := r.nodes.Enrol(peer.ID, peer.Name, nodes.ByToken); err != nil {
		return err
	}
	r.log.Info("a node joined by the token", "peer", peer.ID, "name", peer.Name)
	return nil
}

// Hello describes this proxy to anyone. An unknown node that asks thereby knocks.
func (r *reverseProxy) Hello(_ context.Context, peer peerapi.Peer) (peerapi.Hello, error) {
	err := r.Admit(peer)
	if refusal, ok := errors.AsType[*peerapi.Refusal](err); ok && refusal.Code == peerapi.CodeNotAdmitted {
		if r.nodes.Knock(peer.ID, peer.Name, peer.From) {
			r.log.Info("a node knocks", "peer", peer.ID, "name", peer.Name)
			r.notify(Knocked{ID: peer.ID, Name: peer.Name, From: peer.From})
		}
	} else if err != nil {
		return peerapi.Hello{}, err
	}
	return peerapi.Hello{Version: r.o.Version, Proxy: r.row(), Admitted: err == nil, MaxPorts: r.book.MaxPorts()}, nil
}

// Reserve grants ports and hands over what frpc needs to log in.
func (r *reverseProxy) Reserve(_ context.Context, peer peerapi.Peer, req peerapi.ReserveRequest) (peerapi.ReserveReply, error) {
	failpoint.Hit("proxy-reserving")
	if err := r.mayReserve(peer.ID, time.Now()); err != nil {
		return peerapi.ReserveReply{}, err
	}
	leases, err := r.book.Reserve(peer.ID, req)
	if err != nil {
		return peerapi.ReserveReply{}, err
	}
	n, _ := r.nodes.Lookup(peer.ID)
	r.heard(peer, nil)
	failpoint.Hit("proxy-reserved")
	return peerapi.ReserveReply{Leases: leases, FRP: peerapi.FRP{
		Port: r.o.FRPPort, Token: string(r.frps.conf.Token), CertPEM: r.certPEM, ServerName: certName,
		Credential: string(n.Credential), Keepalive: int(keepalive.Seconds()),
	}}, nil
}

// Release gives leases back and takes their rows out of the table.
func (r *reverseProxy) Release(_ context.Context, peer peerapi.Peer, req peerapi.ReleaseRequest) error {
	defer r.oneAtATime(peer.ID)()
	if err := r.book.Release(peer.ID, req.LeaseIDs); err != nil {
		return err
	}
	gone := make(map[string]bool, len(req.LeaseIDs))
	for _, id := range req.LeaseIDs {
		gone[id] = true
	}
	return r.drop(func(m tables.Mapping) bool { return m.NodeID == peer.ID && gone[m.LeaseID] })
}

// Events streams what this node should know until it goes away.
func (r *reverseProxy) Events(ctx context.Context, peer peerapi.Peer, send func(peerapi.Event) error) error {
	events, cancel := r.hub.subscribe(peer.ID)
	defer cancel()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		ev := peerapi.Event{Kind: peerapi.EventPing}
		select {
		case <-ctx.Done():
			return nil
		case <-ping.C:
		case ev = <-events:
		}
		if err := send(ev); err != nil {
			return err
		}
		if ev.Kind == peerapi.EventRevoked || ev.Kind == peerapi.EventStop {
			return nil
		}
	}
}

// closed is told by the gate that frps closed a mapping. It frees nothing: on
// a reload the new one is opened before the old one is closed (0.65.0).
func (r *reverseProxy) closed(id identity.ID, name string) {
	r.book.Closed(id, name)
	r.hub.send(id, peerapi.Event{Kind: peerapi.EventClosed, Name: name})
	r.poke()
}
