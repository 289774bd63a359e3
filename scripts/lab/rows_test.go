//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is one of --view-rpm --json, with the keys that users' scripts rely on.
type row struct {
	ServerName   string    `json:"server_name"`
	Address      string    `json:"address"`
	Type         string    `json:"type"`
	BindPort     uint16    `json:"bind_port"`
	Name         string    `json:"name"`
	LocalAddress string    `json:"local_address"`
	State        string    `json:"state"`
	Reason       string    `json:"reason"`
	VerifiedAt   time.Time `json:"verified_at"`
	ProvedBy     string    `json:"proved_by"`
	LeaseUntil   time.Time `json:"lease_until"`
	NodeID       string    `json:"node_id"`
	ProxyID      string    `json:"proxy_id"`
	Node         bool      `json:"node"`
	Standby      bool      `json:"standby"`
	Domain       string    `json:"domain"`
}

func (r row) String() string {
	return fmt.Sprintf("%s/%s %s:%d %s (%s)", r.ServerName, r.Name, r.Address, r.BindPort, r.State, r.Reason)
}

// ownPort is the name of the row of a node's own port.
const ownPort = "p2prc"

// rows is the mapping table as the node's user sees it.
func (n *node) rows() []row {
	n.host.lab.t.Helper()
	var table struct {
		Schema int   `json:"schema"`
		Rows   []row `json:"reverse_proxy_mappings"`
	}
	n.json(&table, "--view-rpm", "--json")
	if table.Schema != 1 {
		n.host.lab.t.Fatalf("%s: schema %d, want 1", n.name, table.Schema)
	}
	return table.Rows
}

func (n *node) json(into any, flags ...string) {
	n.host.lab.t.Helper()
	text := n.ask(flags...)
	if err := json.Unmarshal([]byte(text), into); err != nil {
		n.host.lab.t.Fatalf("%s: p2prc %s: %v in\n%s", n.name, strings.Join(flags, " "), err, text)
	}
}

// row is that of a server's mapping, if the node has it.
func (n *node) row(server, name string) (row, bool) {
	n.host.lab.t.Helper()
	rows := n.rows()
	i := slices.IndexFunc(rows, func(r row) bool { return r.ServerName == server && r.Name == name })
	if i < 0 {
		return row{}, false
	}
	return rows[i], true
}

// mappings are the names of the rows that a server is to have. A server with
// a UDP mapping has one more of its own, which is no promise.
type mappings struct {
	server string
	names  []string
}

// isUp says what is wrong with the rows at n, which are all to be up and, if
// since is set, proved after it.
func (m mappings) isUp(n *node, since time.Time) error {
	n.host.lab.t.Helper()
	rows := n.rows()
	for _, name := range m.names {
		i := slices.IndexFunc(rows, func(r row) bool { return r.ServerName == m.server && r.Name == name })
		if i < 0 {
			return fmt.Errorf("%s has no row %s/%s", n.name, m.server, name)
		}
		if err := rows[i].isUp(since); err != nil {
			return fmt.Errorf("at %s: %w", n.name, err)
		}
	}
	for _, r := range rows {
		if r.ServerName == m.server && r.State != "up" {
			return fmt.Errorf("at %s: %v, the others are up", n.name, r)
		}
	}
	return nil
}

func (r row) isUp(since time.Time) error {
	switch {
	case r.State != "up":
		return fmt.Errorf("%v", r)
	case r.Reason != "" || r.ProvedBy == "" || r.VerifiedAt.IsZero():
		return fmt.Errorf("%v: up, proved by %q at %v", r, r.ProvedBy, r.VerifiedAt)
	case r.Address != pubAddr || r.BindPort < 20000 || r.BindPort > 29999:
		return fmt.Errorf("%v: no address of this lab", r)
	case r.LeaseUntil.Before(time.Now()):
		return fmt.Errorf("%v: up, while its lease ended at %v", r, r.LeaseUntil)
	case r.VerifiedAt.Before(since.Truncate(time.Millisecond)):
		return fmt.Errorf("%v: was not proved since %v ago, but at %v", r, time.Since(since).Round(time.Second), r.VerifiedAt)
	}
	return nil
}

// awaitUp waits until every row is up at all nodes, proved after since.
func (m mappings) awaitUp(limit time.Duration, since time.Time, at ...*node) time.Duration {
	t := at[0].host.lab.t
	t.Helper()
	return await(t, "every row is up", limit, func() error {
		for _, n := range at {
			if err := m.isUp(n, since); err != nil {
				return err
			}
		}
		return nil
	})
}

// awaitNotUp waits until no row is up at the node, each for a reason, and
// returns one of them.
func (m mappings) awaitNotUp(limit time.Duration, n *node) (example row, took time.Duration) {
	n.host.lab.t.Helper()
	took = await(n.host.lab.t, "no row is up at "+n.name, limit, func() error {
		var seen bool
		for _, r := range n.rows() {
			switch {
			case r.ServerName != m.server:
			case r.State == "up":
				return fmt.Errorf("%v", r)
			case r.Reason == "":
				return fmt.Errorf("%v: not up, without a reason", r)
			default:
				example, seen = r, true
			}
		}
		if !seen {
			return fmt.Errorf("no rows at all")
		}
		return nil
	})
	return example, took
}

// ports are the bind ports by name, as the node knows them.
func (m mappings) ports(n *node) map[string]uint16 {
	n.host.lab.t.Helper()
	ports := map[string]uint16{}
	for _, r := range n.rows() {
		if r.ServerName == m.server {
			ports[r.Name] = r.BindPort
		}
	}
	return ports
}
