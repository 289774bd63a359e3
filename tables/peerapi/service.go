package peerapi

import (
	"context"
	"net/netip"

	"p2prc/tables/identity"
)

// Peer is the node that asks. Its ID is proved; Name is what it calls itself.
type Peer struct {
	ID   identity.ID
	Name string     // empty, or a valid name
	From netip.Addr // where the connection comes from: for people, never to decide by
}

// Service is what a reverse proxy answers. An error that is a *Refusal reaches
// the node as it is; any other is logged here and reaches it as CodeUnavailable.
// Methods are called from many goroutines at once.
type Service interface {
	// Admit says whether the peer may call anything but Hello and Witness: nil, or a
	// *Refusal. It is asked before each of them and must answer from memory.
	Admit(peer Peer) error

	// Hello is open to every node, but may refuse as well. A peer that is not
	// admitted thereby knocks.
	Hello(ctx context.Context, peer Peer) (Hello, error)
	Reserve(ctx context.Context, peer Peer, req ReserveRequest) (ReserveReply, error)
	Report(ctx context.Context, peer Peer, req ReportRequest) (ReportReply, error)
	Release(ctx context.Context, peer Peer, req ReleaseRequest) error

	// Witness is open to every node: it dials for leases of the peer's own, which
	// other reverse proxies signed.
	Witness(ctx context.Context, peer Peer, req WitnessRequest) (WitnessReply, error)

	// Events sends what happens until ctx ends or send fails, an EventPing at
	// least every 10 s. It calls send from one goroutine at a time.
	Events(ctx context.Context, peer Peer, send func(Event) error) error
}
