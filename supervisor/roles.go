package supervisor

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"p2prc/supervisor/discovery"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// ErrLeave, as the cause that ends a role's context, makes p2prc go while its
// children and rows stay: the next start adopts them.
var ErrLeave = errors.New("leaving, the tunnels stay up")

// Common is what both roles need.
type Common struct {
	Dir              string // state directory, made if missing
	Name             string // of this node; empty: the host's name, made fit
	Version          string // p2prc's own
	Log              *slog.Logger
	PrivateAddresses bool            // addresses that others name are dialled even if they are not public
	Notify           func(Notice)    // told what the user should see; called from one goroutine at a time
	Abort            <-chan struct{} // closed by a second Ctrl-C: children are killed, nothing is waited for
	// Alive is told of each loop of the role that must not stand still, for a
	// watchdog: beat is called whenever it comes round. Nil: nobody watches.
	Alive func(loop string) (beat, ended func())
}

func (c Common) loop(name string) (beat, ended func()) {
	if c.Alive == nil {
		return func() {}, func() {}
	}
	return c.Alive(name)
}

// ReverseProxyOptions describes `p2prc -s --reverse-proxy`.
type ReverseProxyOptions struct {
	Common
	PublicAddress netip.Addr       // zero: the one global IPv4 on an interface
	ListenHost    netip.Addr       // zero: every address; frps binds there too
	ListenPort    uint16           // of the node port
	FRPPort       uint16           // where frpc logs in
	Ports         tables.PortRange // the pool
	Open          bool             // lend ports to any node
	MaxPerNode    int              // ports; zero: 1,024, and 16 where it is open
	HTTPPort      uint16           // of all HTTP mappings, told apart by domain; 0: none are lent
	HTTPSPort     uint16           // of all HTTPS mappings
	Token         identity.Token   // zero: the one in the state directory, made at first start
	Join          []discovery.Seed // ways into the mesh of reverse proxies
	MeshToken     identity.Token   // of a private mesh; zero: the mesh is open
	FRPS          string           // path or name of frps
}

// ConnectOptions describes `p2prc -s --connect-reverse-proxy`.
type ConnectOptions struct {
	Common
	Proxies []Upstream // best first: what works best is active, the rest stand by
	// Auto has p2prc choose reverse proxies, beside or instead of Proxies, so that
	// there are two.
	Auto  bool
	Token identity.Token // to join with at one that was chosen
	// SwitchBack is how long a better proxy must have worked without a break
	// before it is the active one again: a flapping one should not make the
	// address flap that clients see. Zero: a minute.
	SwitchBack time.Duration
	NoWait     bool // fail instead of waiting for an admission or a first proof
	Maps       []Map
	MapFiles   []string        // where mappings.toml may be; at most one of them is
	Reload     <-chan struct{} // makes it read mappings.toml again; may be nil
	// Listen is where the node's own port is bound: zero address 127.0.0.1,
	// zero port one that is free here and at the proxy.
	Listen netip.AddrPort
	FRPC   string // path or name of frpc
}

// Upstream is a reverse proxy that a server is to be reachable through.
type Upstream struct {
	Host  string         // IPv4 address or name, resolved at every connect
	Port  uint16         // its node port
	Pin   identity.ID    // zero: remembered, or learned by the token or a knock
	Token identity.Token // zero: none
}

func (u Upstream) String() string { return net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port))) }

// Map is one mapping that a user asks for: a local service that gets a port on
// the reverse proxy, or is reached there by a domain.
type Map struct {
	Name   string          `json:"name"`
	Type   tables.Protocol `json:"type"`
	Local  netip.AddrPort  `json:"local"`
	Remote uint16          `json:"remote,omitempty"` // 0: the proxy picks
	Domain string          `json:"domain,omitempty"` // of HTTP and HTTPS, which have no Remote
}

// Notice is something the user should see: one of the types below.
type Notice interface{ notice() }

// ProxyReady says that frps and the node port serve.
type ProxyReady struct {
	Row        tables.ReverseProxy
	JoinString string // secret: it admits a node
	Open       bool
	Adopted    bool          // frps was already running
	Took       time.Duration // since the role was started
	Warnings   []string      // things that will bite later
}

// Knocking says that this node waits to be allowed at the proxy.
type Knocking struct {
	ID    identity.ID
	Proxy netip.AddrPort
}

// Knocked says, at the proxy, that a node waits to be allowed.
type Knocked struct {
	ID   identity.ID
	Name string
	From netip.Addr
}

// Mapped says how each of the node's mappings came out, first the node's own
// port. It is sent once all have been tried, then whenever a state changes.
type Mapped struct {
	Rows  []tables.Mapping
	Proxy tables.ReverseProxy
	First bool
	Took  time.Duration // since the role was started; only with First
}

// Chosen says which reverse proxy p2prc took, and why.
type Chosen struct {
	Name    string
	Proxy   string // its node port
	Latency time.Duration
	Load    int // leases
	Free    int // ports
	Why     string
	Of      int // so many could be chosen
	Standby bool
}

// Reloaded says how a reload of mappings.toml went.
type Reloaded struct {
	ReloadReply
	Err error // nothing was changed
}

// Retrying says that the reverse proxy is out of reach and is tried again.
type Retrying struct {
	Proxy string
	Err   error
}

func (ProxyReady) notice() {}
func (Knocking) notice()   {}
func (Knocked) notice()    {}
func (Mapped) notice()     {}
func (Retrying) notice()   {}
func (Chosen) notice()     {}
func (Reloaded) notice()   {}
