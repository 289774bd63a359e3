package supervisor

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"p2prc/supervisor/child"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/lease"
	"p2prc/tables/peerapi"
)

// Status is all that a running node says of itself. Fields are only added.
type Status struct {
	Schema   int             `json:"schema"`
	Trouble  []string        `json:"trouble"` // what a user should look at, worst first
	Node     NodeStatus      `json:"node"`
	Proxies  []ProxyStatus   `json:"proxies,omitempty"`  // that a server uses
	Servers  []ServerStatus  `json:"servers,omitempty"`  // that a reverse proxy lends to
	Lends    *LendsStatus    `json:"lends,omitempty"`    // a reverse proxy's pool and limits
	Children []ChildStatus   `json:"children"`           // frps or frpc
	Mappings []MappingStatus `json:"mappings,omitempty"` // those that are not up come first
}

// StatusSchema is the promise behind Status.
const StatusSchema = 1

// NodeStatus is the p2prc process.
type NodeStatus struct {
	Name     string       `json:"name"`
	ID       identity.ID  `json:"node_id"`
	Role     peerapi.Role `json:"role"`
	Version  string       `json:"version"`
	PID      int          `json:"pid"`
	Uptime   float64      `json:"uptime_s"`
	StateDir string       `json:"state_dir"`
}

// ProxyStatus is a reverse proxy as a server sees it.
type ProxyStatus struct {
	tables.ReverseProxy
	As       string `json:"as"` // as the user named it
	Standby  bool   `json:"standby"`
	MaxPorts int    `json:"max_ports,omitempty"` // that it lends to one node
}

// ServerStatus is a node as a reverse proxy sees it.
type ServerStatus struct {
	Name     string      `json:"name"`
	ID       identity.ID `json:"node_id"`
	HeardAt  time.Time   `json:"heard_at"`
	Ports    int         `json:"ports"`    // reserved ones counted
	Mappings int         `json:"mappings"` // in the list
	Up       int         `json:"up"`       // of them
	Reserved int         `json:"reserved"` // ports and domains that no mapping has now
}

// LendsStatus is what a reverse proxy has to lend.
type LendsStatus struct {
	Ports        tables.PortRange `json:"ports"`
	Free         int              `json:"free"`
	MaxPerNode   int              `json:"max_ports_per_node"`
	MaxPerSecond int              `json:"max_reservations_per_second"`
	HTTPPort     uint16           `json:"http_port,omitempty"` // domains are lent on them
	HTTPSPort    uint16           `json:"https_port,omitempty"`
}

// ChildStatus is an frps or frpc.
type ChildStatus struct {
	Name      string  `json:"name"`
	PID       int     `json:"pid,omitempty"` // 0: it does not run
	Version   string  `json:"version"`
	Uptime    float64 `json:"uptime_s,omitempty"`
	Restarts  int     `json:"restarts"`
	LastError string  `json:"last_error,omitempty"`
}

// MappingStatus is one row with what only the node itself knows.
type MappingStatus struct {
	tables.Mapping
	From    string  `json:"from,omitempty"` // who declared it
	Traffic Traffic `json:"traffic"`        // today, as frps counts
}

// Traffic is what frps counted of a mapping since midnight there.
type Traffic struct {
	In          int64 `json:"in"`
	Out         int64 `json:"out"`
	Connections int   `json:"connections"`
}

// vitals are what a status says of a child, beside the goroutine that owns it.
type vitals struct {
	mu       sync.Mutex // guards what follows
	proc     *child.Process
	starts   int
	lastErr  string
	versions string
}

func (v *vitals) runs(proc *child.Process) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.proc = proc; proc != nil {
		v.starts++
	}
}

func (v *vitals) failed(why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lastErr = why
}

func (v *vitals) version(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.versions = text
}

func (v *vitals) status(name string, now time.Time) ChildStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := ChildStatus{Name: name, Version: v.versions, Restarts: max(0, v.starts-1), LastError: v.lastErr}
	if v.proc != nil && !ended(v.proc) {
		s.PID, s.Uptime = v.proc.PID(), now.Sub(v.proc.Started()).Round(time.Millisecond).Seconds()
	}
	return s
}

func (s *server) nodeStatus(now time.Time) NodeStatus {
	return NodeStatus{
		Name: s.o.Name, ID: s.key.ID(), Role: peerapi.RoleServer, Version: s.o.Version, PID: os.Getpid(),
		Uptime: now.Sub(s.started).Round(time.Millisecond).Seconds(), StateDir: s.dir.Path(),
	}
}

// status is the server's; it needs neither the proxies nor the tables.
func (s *server) status() Status {
	now := time.Now()
	st := Status{Schema: StatusSchema, Trouble: []string{}, Node: s.nodeStatus(now), Children: []ChildStatus{}}
	for _, a := range s.standing.all() {
		hello, err := a.link.state()
		p := ProxyStatus{ReverseProxy: hello.Proxy, As: a.proxy(), Standby: s.standing.standsBy(a), MaxPorts: hello.MaxPorts}
		p.State, p.Reason = tables.Up, ""
		if err != nil {
			p.State, p.Reason = tables.Down, a.linkReason()
			st.Trouble = append(st.Trouble, p.Reason)
		}
		if ms := a.link.client.Latency(); ms > 0 {
			p.LatencyMS = new(float64(ms.Microseconds()) / 1000)
		}
		st.Proxies = append(st.Proxies, p)
		c := a.frpc.vitals.status(a.frpc.name, now)
		if c.PID == 0 && c.LastError != "" {
			st.Trouble = append(st.Trouble, c.Name+" does not run: "+c.LastError)
		}
		st.Children = append(st.Children, c)
	}
	st.Mappings = s.rows()
	st.Trouble = append(st.Trouble, troubled(st.Mappings, st.Trouble)...)
	return st
}

// rows are the server's mappings at every proxy, those in trouble first.
func (s *server) rows() []MappingStatus {
	var rows []MappingStatus
	seen := make(map[string]bool)
	s.board.mu.Lock()
	for _, posts := range s.board.posts {
		for name, p := range posts {
			seen[name] = true
			rows = append(rows, MappingStatus{Mapping: p.row, Traffic: p.traffic})
		}
	}
	s.board.mu.Unlock()
	s.mappings.mu.Lock()
	from := make(map[string]string, len(s.names))
	for name, m := range s.names {
		from[name] = fromMapVerb
		if !seen[name] {
			rows = append(rows, MappingStatus{Mapping: tables.Mapping{
				ServerName: s.o.Name, Type: m.Type, Name: m.Name, Domain: m.Domain, LocalAddress: m.Local, State: tables.Waiting, Reason: s.waitsFor(),
			}})
		}
	}
	for _, m := range s.file {
		from[m.Name] = fromMapFile
	}
	for _, m := range s.flags {
		from[m.Name] = fromMapFlag
	}
	s.mappings.mu.Unlock()
	for i := range rows {
		rows[i].From = from[rows[i].Name]
	}
	sortTroubleFirst(rows)
	return rows
}

func sortTroubleFirst(rows []MappingStatus) {
	rank := map[tables.State]int{tables.Down: 0, tables.Waiting: 1, tables.Up: 2}
	slices.SortFunc(rows, func(a, b MappingStatus) int {
		return cmp.Or(cmp.Compare(rank[a.State], rank[b.State]), cmp.Compare(a.ServerName, b.ServerName),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.ProxyID, b.ProxyID))
	})
}

// troubled is one line for each reason of rows that are not up, but for those
// that were told already.
func troubled(rows []MappingStatus, told []string) []string {
	var order []string
	count := make(map[string]int)
	first := make(map[string]string)
	for _, r := range rows {
		if r.State == tables.Up || r.Standby || slices.Contains(told, r.Reason) {
			continue
		}
		if count[r.Reason]++; count[r.Reason] == 1 {
			order, first[r.Reason] = append(order, r.Reason), r.Name
		}
	}
	var lines []string
	for _, reason := range order {
		who := first[reason]
		if n := count[reason]; n > 1 {
			who += fmt.Sprintf(" and %d more", n-1)
		}
		lines = append(lines, who+": "+reason)
	}
	return lines
}

// status is the reverse proxy's.
func (r *reverseProxy) status() Status {
	now := time.Now()
	st := Status{
		Schema: StatusSchema, Trouble: []string{},
		Node: NodeStatus{
			Name: r.o.Name, ID: r.key.ID(), Role: peerapi.RoleReverseProxy, Version: r.o.Version, PID: os.Getpid(),
			Uptime: now.Sub(r.started).Round(time.Millisecond).Seconds(), StateDir: r.dir.Path(),
		},
		Lends: &LendsStatus{
			Ports: r.o.Ports, Free: r.book.Free(), MaxPerNode: r.book.MaxPorts(), MaxPerSecond: reservePerSecond,
			HTTPPort: r.o.HTTPPort, HTTPSPort: r.o.HTTPSPort,
		},
	}
	c := r.frps.vitals.status("frps", now)
	if c.PID == 0 {
		st.Trouble = append(st.Trouble, "frps does not run: "+cmp.Or(c.LastError, "it is being started"))
	}
	st.Children = []ChildStatus{c}
	listed := make(map[mappingOf]bool)
	r.mu.Lock()
	for _, m := range r.store.Mappings() {
		if m.ProxyID == r.key.ID() {
			of := mappingOf{m.NodeID, m.Name}
			listed[of] = true
			st.Mappings = append(st.Mappings, MappingStatus{Mapping: m, Traffic: r.traffic[of]})
		}
	}
	for id, n := range r.reports {
		st.Servers = append(st.Servers, ServerStatus{Name: n.name, ID: id, HeardAt: n.at.UTC().Truncate(time.Second)})
	}
	r.mu.Unlock()
	for i := range st.Servers {
		s := &st.Servers[i]
		for _, of := range r.book.Of(s.ID) {
			s.Ports++
			switch {
			case listed[mappingOf{s.ID, of.Name}]:
			case of.Left > 0: // it has not worked yet, so it is in no table
				st.Mappings = append(st.Mappings, MappingStatus{Mapping: r.waiting(of, now)})
			default:
				s.Reserved++
			}
		}
	}
	count := make(map[identity.ID]int)
	up := make(map[identity.ID]int)
	for _, m := range st.Mappings {
		count[m.NodeID]++
		if m.State == tables.Up {
			up[m.NodeID]++
		}
	}
	for i, s := range st.Servers {
		st.Servers[i].Mappings, st.Servers[i].Up = count[s.ID], up[s.ID]
	}
	slices.SortFunc(st.Servers, func(a, b ServerStatus) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	sortTroubleFirst(st.Mappings)
	st.Trouble = append(st.Trouble, troubled(st.Mappings, st.Trouble)...)
	return st
}

// waiting is the row of a lease whose mapping has not worked yet.
func (r *reverseProxy) waiting(of lease.Status, now time.Time) tables.Mapping {
	r.mu.Lock()
	n := r.reports[of.NodeID]
	said, at, name, left := n.rows[of.LeaseID], n.at, n.name, n.left
	r.mu.Unlock()
	row, _ := r.mapping(name, of.Reservation, said, of.Online, of.Reason, now)
	row.State = tables.Waiting
	if !left && now.Sub(at) > silentAfter {
		row.Reason = unheard(at)
	}
	row.Reason = cmp.Or(row.Reason, "its server has not proved it yet")
	return row
}

// mappingOf is a node's name for a mapping.
type mappingOf struct {
	node identity.ID
	name string
}
