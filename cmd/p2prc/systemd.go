package main

import (
	"fmt"

	"p2prc/supervisor"
	"p2prc/supervisor/notify"
	"p2prc/tables"
)

// unit is p2prc as a unit of systemd: when it has started, and the line that
// systemctl status shows.
type unit struct {
	socket *notify.Socket
	ready  bool
}

// tell passes a notice on. The start is over with the first proof, or with the
// first plain word about what it waits for: a unit that were still starting by
// then would hold up the boot, and a time limit would end tunnels that an
// earlier p2prc left.
func (u *unit) tell(n supervisor.Notice) error {
	text := statusLine(n)
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
func statusLine(n supervisor.Notice) string {
	switch n := n.(type) {
	case supervisor.ProxyReady:
		row := n.Row
		return fmt.Sprintf("reverse proxy %s at %s:%d, lends %s, frps %s", row.ServerName, row.Address, row.NodePort, row.Ports, row.FRPVersion)
	case supervisor.Mapped:
		return mappedLine(n.Rows)
	case supervisor.Knocking:
		return fmt.Sprintf("waiting to be allowed; at the reverse proxy %s, run: p2prc --allow %s", n.Proxy, n.ID)
	case supervisor.Retrying:
		return fmt.Sprintf("the reverse proxy %s is out of reach, trying again: %v", n.Proxy, n.Err)
	}
	return ""
}

// mappedLine has the trouble first: the line may be cut.
func mappedLine(rows []tables.Mapping) string {
	up, trouble, at := 0, "", ""
	for _, row := range rows {
		switch {
		case row.State == tables.Up:
			up++
		case trouble == "":
			trouble = fmt.Sprintf("%s is %s: %s; ", row.Name, row.State, row.Reason)
		}
		if row.Node && row.Type == tables.TCP && row.State == tables.Up {
			at = ", reachable at " + row.Public().String()
		}
	}
	return fmt.Sprintf("%s%d of %d mappings up%s", trouble, up, len(rows), at)
}
