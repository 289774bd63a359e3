package tables

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"time"

	"p2prc/tables/identity"
)

const ipTableName = "ip_table.json"

// Server is a row of ip_table.json: a node that can be dialled, with the keys and types of P2PRC's own
// p2p/iptable.go (read 2026-11), which its bindings decode, and two keys more.
// What p2prc does not know stays at P2PRC's zero value.
type Server struct {
	Name                 string
	MachineUsername      string
	IPV4                 string
	IPV6                 string
	Latency              time.Duration // integer nanoseconds
	Download             float64
	Upload               float64
	ServerPort           string
	UDPServerPort        string
	BareMetalSSHPort     string
	NAT                  bool
	EscapeImplementation string
	ProxyServer          bool
	UnSafeMode           bool
	PublicKey            string
	CustomInformation    string
	NodeID               identity.ID
	State                State
}

// Addr is where the node is dialled.
func (a Server) Addr() string {
	host := a.IPV4
	if host == "" {
		host = a.IPV6
	}
	return net.JoinHostPort(host, a.ServerPort)
}

// ReadServers derives the IP table from the tables in dir, as ReadMappings and
// ReadProxies show them now.
func ReadServers(dir string, now time.Time) (View[Server], error) {
	mappings, err := ReadMappings(dir, now)
	if err != nil {
		return View[Server]{}, err
	}
	proxies, err := ReadProxies(dir, now)
	if err != nil {
		return View[Server]{}, err
	}
	v := View[Server]{
		Rows:  servers(mappings.Rows, proxies.Rows),
		Files: append(mappings.Files, proxies.Files...), Running: mappings.Running, Left: mappings.Left,
	}
	v.WrittenAt = mappings.WrittenAt
	if proxies.WrittenAt.After(v.WrittenAt) {
		v.WrittenAt = proxies.WrittenAt
	}
	return v, nil
}

// servers is every reverse proxy at its own address, and every server behind
// NAT at its active proxy's address and bind port, which the mapping of the node
// itself leads to.
func servers(mappings []Mapping, proxies []ReverseProxy) []Server {
	latency := make(map[identity.ID]time.Duration, len(proxies))
	var rows []Server
	for _, p := range proxies {
		if p.LatencyMS != nil {
			latency[p.NodeID] = time.Duration(math.Round(*p.LatencyMS * float64(time.Millisecond)))
		}
		if !p.Address.IsValid() || p.NodePort == 0 {
			continue // nothing to dial yet
		}
		row := Server{
			Name: p.ServerName, Latency: latency[p.NodeID], ServerPort: strconv.Itoa(int(p.NodePort)),
			EscapeImplementation: "None", ProxyServer: true, NodeID: p.NodeID, State: p.State,
		}
		row.setAddress(p.Address)
		rows = append(rows, row)
	}
	for _, m := range mappings {
		if !m.Node || m.Type != TCP || m.Standby || !m.Address.IsValid() || m.BindPort == 0 {
			continue
		}
		row := Server{
			Name: m.ServerName, Latency: latency[m.ProxyID], ServerPort: strconv.Itoa(int(m.BindPort)),
			NAT: true, EscapeImplementation: "FRP", NodeID: m.NodeID, State: m.State,
		}
		row.setAddress(m.Address)
		rows = append(rows, row)
	}
	return rows
}

func encodeIPTable(mappings []Mapping, proxies []ReverseProxy) ([]byte, error) {
	rows := servers(mappings, proxies)
	var buf bytes.Buffer
	buf.WriteString(`{"ip_address":[`)
	for i, row := range rows {
		b, err := encode(row)
		if err != nil {
			return nil, fmt.Errorf("encoding a row of %s: %w", ipTableName, err)
		}
		if i > 0 {
			buf.WriteByte(',')
		}
		buf.WriteByte('\n')
		buf.Write(b)
	}
	buf.WriteString("\n]}\n")
	return buf.Bytes(), nil
}

func (a *Server) setAddress(addr netip.Addr) {
	if addr = addr.Unmap(); addr.Is4() {
		a.IPV4 = addr.String()
	} else {
		a.IPV6 = addr.String()
	}
}
