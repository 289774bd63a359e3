package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"p2prc/supervisor"
	"p2prc/supervisor/notify"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// unit is p2prc as a unit of systemd: when it has started, and the line that
// systemctl status shows.
type unit struct {
	socket *notify.Socket
	ready  bool
	rows   map[identity.ID][]tables.Mapping // as last told, by reverse proxy
}

// tell passes a notice on. The start is over with the first proof, or with the
// first plain word about what it waits for: a unit that were still starting by
// then would hold up the boot, and a time limit would end tunnels that an
// earlier p2prc left.
func (u *unit) tell(n supervisor.Notice) error {
	text := u.statusLine(n)
	switch {
	case text == "":
		return nil
	case u.ready:
		return u.socket.Status(text)
	}
	u.ready = true
	return u.socket.Ready(text)
}

// statusLine is how p2prc is after this notice; empty: as before.
func (u *unit) statusLine(n supervisor.Notice) string {
	switch n := n.(type) {
	case supervisor.ProxyReady:
		row := n.Row
		return fmt.Sprintf("reverse proxy %s at %s:%d, lends %s, frps %s", row.ServerName, row.Address, row.NodePort, row.Ports, row.FRPVersion)
	case supervisor.Mapped:
		if u.rows == nil {
			u.rows = make(map[identity.ID][]tables.Mapping)
		}
		u.rows[n.Proxy.NodeID] = n.Rows
		return u.mapped("")
	case supervisor.Knocking:
		return u.mapped(fmt.Sprintf("waiting to be allowed; at the reverse proxy %s, run: p2prc --allow %s", n.Proxy, n.ID))
	case supervisor.Retrying:
		return u.mapped(fmt.Sprintf("the reverse proxy %s is out of reach, trying again: %v", n.Proxy, n.Err))
	}
	return ""
}

// mapped has the trouble first: the line may be cut.
func (u *unit) mapped(trouble string) string {
	all, up, at := 0, 0, ""
	for _, proxy := range slices.Sorted(maps.Keys(u.rows)) {
		for _, row := range u.rows[proxy] {
			all++
			switch {
			case row.State == tables.Up:
				up++
			case trouble == "":
				trouble = fmt.Sprintf("%s is %s: %s", row.Name, row.State, row.Reason)
			}
			if row.Node && row.Type == tables.TCP && row.State == tables.Up {
				at += " " + row.Public().String()
			}
		}
	}
	var parts []string
	if trouble != "" {
		parts = append(parts, trouble)
	}
	if all > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d mappings up", up, all))
	}
	text := strings.Join(parts, "; ")
	if at != "" {
		text += ", reachable at" + at
	}
	return text
}
