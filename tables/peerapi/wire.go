package peerapi

import (
	"net/netip"
	"time"

	"p2prc/tables"
)

// The protocols one public TCP port speaks under TLS, told apart by ALPN.
const (
	ALPNAPI  = "p2prc-api/1"  // the node API, for nodes that are enrolled
	ALPNJoin = "p2prc-join/1" // proves a token both ways, enrols the node, then is the node API
	ALPNSync = "p2prc-sync/1" // a Protocol: tables/sync
	ALPNMesh = "p2prc-mesh/1" // a Protocol: tables/mesh

	ALPNCanary = "p2prc-canary/1" // a Protocol: supervisor/proof
)

// MaxBody bounds every request and reply of the node API, in bytes.
const MaxBody = 1 << 20

// Hello is what a reverse proxy tells any node that asks: GET /v1/hello.
type Hello struct {
	Version  string              `json:"version"`  // of p2prc
	Proxy    tables.ReverseProxy `json:"proxy"`    // as the proxy describes itself
	Admitted bool                `json:"admitted"` // the asking node may reserve
	MaxPorts int                 `json:"max_ports,omitempty"`
}

// Want is one mapping a server asks a port for.
type Want struct {
	Name       string          `json:"name"`
	Type       tables.Protocol `json:"type"`
	Port       uint16          `json:"port,omitempty"`       // this one and no other
	Candidates []uint16        `json:"candidates,omitempty"` // free on the server: one of these if possible
	Lease      []byte          `json:"lease,omitempty"`      // the last signed lease, for a proxy that lost its tables
	Another    bool            `json:"another,omitempty"`    // the reserved port was stolen: give a different one
	Domain     string          `json:"domain,omitempty"`     // of HTTP and HTTPS, instead of all else: this one
}

// ReserveRequest asks for leases, all or none: POST /v1/reserve. The same ID
// from the same node gets the same answer.
type ReserveRequest struct {
	ID    string `json:"id"`
	Name  string `json:"name"` // of the server
	Wants []Want `json:"wants"`
}

// ReserveReply grants every want, in order.
type ReserveReply struct {
	Leases []Lease `json:"leases"`
	FRP    FRP     `json:"frp"`
}

// Lease is the right to listen on a port of the proxy for TTL, counted by the
// holder from when it sent the request.
type Lease struct {
	Name     string          `json:"name"`
	Type     tables.Protocol `json:"type"`
	Port     uint16          `json:"port"`
	ID       string          `json:"id"`
	TTL      Milliseconds    `json:"ttl_ms"`
	Signed   []byte          `json:"signed"`    // see lease.Sign
	GuardKey []byte          `json:"guard_key"` // proves the guard's answer to a witness
	Guarded  bool            `json:"guarded"`   // p2prc holds the port; false: frps already does
	Proved   bool            `json:"proved"`    // dialled from outside in the last 24 h
	Domain   string          `json:"domain,omitempty"`
}

// FRP is what a server needs for its frpc.toml. It holds secrets.
type FRP struct {
	Port       uint16 `json:"port"`
	Token      string `json:"token"`
	CertPEM    []byte `json:"cert_pem"`
	ServerName string `json:"server_name"`
	Credential string `json:"credential"` // this node's own, for the login metadatas
	Keepalive  int    `json:"keepalive_s"`
}

// Row is how a server sees one of its mappings.
type Row struct {
	LeaseID string         `json:"lease_id"`
	State   tables.State   `json:"state"`
	Reason  string         `json:"reason,omitempty"`
	Proved  string         `json:"proved_by,omitempty"` // who dialled the port from outside
	Local   netip.AddrPort `json:"local"`               // for the proxy's table
	Node    bool           `json:"node,omitempty"`      // the server's own port
	Standby bool           `json:"standby,omitempty"`   // another reverse proxy of the server is the active one
}

// ReportRequest renews the leases named in it and says how each mapping is:
// POST /v1/report. A row is up only after steps (a), (b) and (d) of the proof;
// the proxy adds (c) and commits.
type ReportRequest struct {
	Rows []Row `json:"rows"`
	Left bool  `json:"left,omitempty"` // p2prc goes, the tunnels stay
}

// ReportReply answers each row, in order.
type ReportReply struct {
	Rows []RowReply `json:"rows"`
}

// RowReply is the proxy's side of one mapping.
type RowReply struct {
	LeaseID string       `json:"lease_id"`
	TTL     Milliseconds `json:"ttl_ms"`           // 0: there is no such lease any more
	Online  bool         `json:"online"`           // frps has it, under a lease that the gate admitted
	Reason  string       `json:"reason,omitempty"` // why not, or why the lease is gone
	In      int64        `json:"in,omitempty"`     // bytes and connections of today, as frps last counted
	Out     int64        `json:"out,omitempty"`
	Conns   int          `json:"conns,omitempty"`
}

// ReleaseRequest gives leases back: POST /v1/release. The reservations stay.
type ReleaseRequest struct {
	LeaseIDs []string `json:"lease_ids"`
}

// WitnessRequest asks a reverse proxy to dial ports of another one, for a node
// that cannot do so itself: POST /v1/witness. Any node may ask, for its own leases.
type WitnessRequest struct {
	Asks []Ask `json:"asks"`
}

// Ask is one port to dial: the one of a lease, and no other.
type Ask struct {
	Lease    []byte `json:"lease"`              // as its reverse proxy signed it
	Question []byte `json:"question,omitempty"` // to a guard or a canary; none: a bare connect
}

// WitnessReply says of each ask, in order, what came of it.
type WitnessReply struct {
	Name    string      `json:"name"` // of the witness
	Answers []Witnessed `json:"answers"`
}

// Witnessed is what came of dialling one port.
type Witnessed struct {
	Answer []byte `json:"answer,omitempty"` // to the question; the asking node knows whether it is right
	Error  string `json:"error,omitempty"`
}

// Event is one line of the answer to GET /v1/events, which stays open.
type Event struct {
	Kind EventKind `json:"kind"`
	Name string    `json:"name,omitempty"` // the mapping, where one is meant
}

// EventKind says what happened at the proxy.
type EventKind string

// What a reverse proxy tells its nodes.
const (
	EventPing    EventKind = "ping"     // every 10 s
	EventFRPSUp  EventKind = "frps-up"  // frps was restarted: log in again
	EventClosed  EventKind = "closed"   // frps closed a mapping
	EventRevoked EventKind = "revoked"  // this node may no longer stay
	EventStop    EventKind = "stopping" // the proxy goes away
)

// Milliseconds is a duration as it crosses the wire.
type Milliseconds int64

// Duration is the wire value as a Go duration.
func (m Milliseconds) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// Code is why a reverse proxy refused, for programs.
type Code string

// The refusals of the node API.
const (
	CodeBadRequest  Code = "bad-request"
	CodeNotAdmitted Code = "not-admitted" // unknown node, or a knock that nobody answered yet
	CodeRevoked     Code = "revoked"
	CodeBadToken    Code = "bad-token"
	CodeQuota       Code = "quota"
	CodePoolFull    Code = "pool-full"
	CodePortTaken   Code = "port-taken"
	CodeDomainTaken Code = "domain-taken"
	CodeNoDomains   Code = "no-domains"  // it lends none of that protocol
	CodeUnavailable Code = "unavailable" // try again
	CodeFRPTooOld   Code = "frp-too-old"
	CodeNotAProxy   Code = "not-a-proxy" // a node without this role
)

// Refusal is a reverse proxy's no, as it crosses the wire.
type Refusal struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (r *Refusal) Error() string { return r.Message }
