package tables

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"p2prc/tables/identity"
)

// Protocol is what a mapping carries, as the table files spell it.
type Protocol string

// The protocols a reverse proxy can map. The last two share one port of the
// proxy for all their mappings, which are told apart by domain: HTTP by the
// Host of a request, HTTPS by the name that TLS begins with, unopened.
const (
	TCP   Protocol = "TCP"
	UDP   Protocol = "UDP"
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
)

// FRP spells the protocol as frp does: "tcp", "udp", "http", "https".
func (p Protocol) FRP() string { return strings.ToLower(string(p)) }

// ByName reports whether strangers reach such a mapping by a domain.
func (p Protocol) ByName() bool { return p == HTTP || p == HTTPS }

// Transport is what the protocol is carried by: TCP or UDP.
func (p Protocol) Transport() Protocol {
	if p.ByName() {
		return TCP
	}
	return p
}

// NamePort is which of these two ports all mappings of the protocol share; 0:
// neither.
func (p Protocol) NamePort(http, https uint16) uint16 {
	switch p {
	case HTTP:
		return http
	case HTTPS:
		return https
	}
	return 0
}

// Known reports whether it is one of the protocols above.
func (p Protocol) Known() bool { return p == TCP || p == UDP || p.ByName() }

// State is what a row says of itself.
type State string

// A row is Up only while a proof holds. Waiting needs somebody: a service to
// start, a firewall to open, a renewal. Down worked before and is being repaired.
const (
	Up      State = "up"
	Down    State = "down"
	Waiting State = "waiting"
)

// Mapping is one row of reverse_proxy_mapping.json: proxy address and bind
// port, and the service on a server behind NAT that they lead to.
type Mapping struct {
	ServerName   string         `json:"server_name"`
	Address      netip.Addr     `json:"address"` // of the reverse proxy
	Type         Protocol       `json:"type"`
	BindPort     uint16         `json:"bind_port"` // 0 while no port was granted
	Name         string         `json:"name"`
	LocalAddress netip.AddrPort `json:"local_address"`
	State        State          `json:"state"`
	Reason       string         `json:"reason"` // empty when up
	VerifiedAt   time.Time      `json:"verified_at,omitzero"`
	ProvedBy     string         `json:"proved_by"`
	LeaseUntil   time.Time      `json:"lease_until,omitzero"`
	NodeID       identity.ID    `json:"node_id"`
	ProxyID      identity.ID    `json:"proxy_id"`
	Serial       uint64         `json:"serial"`
	LeaseID      string         `json:"lease_id"`
	Node         bool           `json:"node,omitempty"`    // the server's own port, not a --map
	Standby      bool           `json:"standby,omitempty"` // the server's active reverse proxy is another one
	Learned      bool           `json:"learned,omitempty"` // other nodes say so; see Store.Learn
	Domain       string         `json:"domain,omitempty"`  // of HTTP and HTTPS: BindPort is then shared
}

// MappingKey identifies a mapping: a node's names are unique on a proxy.
type MappingKey struct {
	ProxyID identity.ID `json:"proxy_id"`
	NodeID  identity.ID `json:"node_id"`
	Name    string      `json:"name"`
}

// Key is the mapping's identity in the table.
func (m Mapping) Key() MappingKey { return MappingKey{m.ProxyID, m.NodeID, m.Name} }

// Public is the address that a stranger dials.
func (m Mapping) Public() netip.AddrPort { return netip.AddrPortFrom(m.Address, m.BindPort) }

// Dial is what a stranger dials as people write it: Public, or the domain with
// the port.
func (m Mapping) Dial() string {
	if m.Domain != "" {
		return net.JoinHostPort(m.Domain, strconv.Itoa(int(m.BindPort)))
	}
	return m.Public().String()
}

// Admission says whom a reverse proxy lends ports to.
type Admission string

// How a node gets in: by a token or a knock; anyone; only its own mesh.
const (
	AdmitToken Admission = "token"
	AdmitOpen  Admission = "open"
	AdmitMesh  Admission = "mesh"
)

// ReverseProxy is one row of reverse_proxy_server.json.
type ReverseProxy struct {
	ServerName string      `json:"server_name"`
	Address    netip.Addr  `json:"address"`
	LatencyMS  *float64    `json:"latency_ms"` // null while not measured from here
	State      State       `json:"state"`
	Reason     string      `json:"reason"`
	VerifiedAt time.Time   `json:"verified_at,omitzero"`
	NodePort   uint16      `json:"node_port"`
	FRPPort    uint16      `json:"frp_port"`
	Ports      PortRange   `json:"ports"`
	PortsFree  int         `json:"ports_free"`
	Admission  Admission   `json:"admission"`
	FRPVersion string      `json:"frp_version"`
	NodeID     identity.ID `json:"node_id"`
	Serial     uint64      `json:"serial"`
	Load       int         `json:"load,omitempty"`       // live leases, as the proxy last said
	Learned    bool        `json:"learned,omitempty"`    // other nodes say so; see Store.Learn
	HTTPPort   uint16      `json:"http_port,omitempty"`  // of all HTTP mappings, by domain; 0: none are lent
	HTTPSPort  uint16      `json:"https_port,omitempty"` // of all HTTPS mappings
}

// NamePort is the port that all mappings of a protocol share; 0: it has none.
func (p ReverseProxy) NamePort(proto Protocol) uint16 { return proto.NamePort(p.HTTPPort, p.HTTPSPort) }

// Reservation is a reverse proxy's word that a node and name get this port.
// While LeaseUntil lies ahead the node may also listen on it.
type Reservation struct {
	NodeID       identity.ID `json:"node_id"`
	Name         string      `json:"name"`
	Type         Protocol    `json:"type"`
	Port         uint16      `json:"port"`
	LeaseID      string      `json:"lease_id"`
	LeaseUntil   time.Time   `json:"lease_until,omitzero"`
	UsedAt       time.Time   `json:"used_at"`                 // last grant or renewal
	PortProvedAt time.Time   `json:"port_proved_at,omitzero"` // last dial from outside that came through
	Domain       string      `json:"domain,omitempty"`        // of HTTP and HTTPS: what is reserved
}

// ReservationKey identifies a reservation on the one proxy that made it.
type ReservationKey struct {
	NodeID identity.ID `json:"node_id"`
	Name   string      `json:"name"`
}

// Key is the reservation's identity in the journal.
func (r Reservation) Key() ReservationKey { return ReservationKey{r.NodeID, r.Name} }

// Wanted is a mapping that the user of a server asked for while it ran: it is
// there again after a restart. What the command line or mappings.toml say is
// not in here.
type Wanted struct {
	Name  string         `json:"name"`
	Type  Protocol       `json:"type"`
	Local netip.AddrPort `json:"local"`
	Port  uint16         `json:"port,omitempty"` // on the reverse proxy; 0: any

	Domain string `json:"domain,omitempty"` // of HTTP and HTTPS
}

// PortRange is an inclusive range of ports, written "20000-29999".
type PortRange struct{ First, Last uint16 }

// ParsePortRange reads "20000-29999" or a single port.
func ParsePortRange(s string) (PortRange, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	a, err := ParsePort(first)
	if err != nil {
		return PortRange{}, err
	}
	b, err := ParsePort(last)
	if err != nil {
		return PortRange{}, err
	}
	if b < a {
		return PortRange{}, fmt.Errorf("port range %s ends before it begins", s)
	}
	return PortRange{a, b}, nil
}

// ParsePort reads a port from 1 to 65535.
func ParsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a port number", s)
	}
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("port %d is outside 1-65535", n)
	}
	return uint16(n), nil
}

// Contains reports whether port lies in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// Len is how many ports the range holds.
func (r PortRange) Len() int {
	if r.First == 0 {
		return 0
	}
	return int(r.Last) - int(r.First) + 1
}

func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalJSON writes the range as people read it, and none as "".
func (r PortRange) MarshalJSON() ([]byte, error) {
	if r == (PortRange{}) {
		return []byte(`""`), nil
	}
	return json.Marshal(r.String())
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *PortRange) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s == "" {
		*r = PortRange{}
		return nil
	}
	got, err := ParsePortRange(s)
	if err != nil {
		return err
	}
	*r = got
	return nil
}

// MaxName is the longest name of a node or mapping, in bytes.
const MaxName = 63

// CheckName says what is wrong with the name of a node or mapping.
func CheckName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("a name may not be empty")
	case len(s) > MaxName:
		return fmt.Errorf("a name has at most %d characters, this one has %d", MaxName, len(s))
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%q is not a name: only a-z, 0-9 and - are allowed", s)
		}
	}
	return nil
}
