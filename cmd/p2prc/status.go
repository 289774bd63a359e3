package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"text/tabwriter"
	"time"

	"p2prc/supervisor"
)

// status prints what a node says of itself, trouble first.
func (p *printer) status(st supervisor.Status, asJSON, watched bool) error {
	var b bytes.Buffer
	if asJSON {
		if err := json.NewEncoder(&b).Encode(st); err != nil {
			return fmt.Errorf("writing the status: %w", err)
		}
	} else {
		if watched && p.outColor {
			b.WriteString(clearScreen)
		}
		p.writeStatus(&b, st)
		if watched && !p.outColor {
			b.WriteString("\n")
		}
	}
	_, err := p.out.Write(b.Bytes())
	return written(err)
}

func (p *printer) writeStatus(b *bytes.Buffer, st supervisor.Status) {
	now := p.now()
	for _, text := range st.Trouble {
		fmt.Fprintf(b, "%s  %s\n", paint(p.outColor, yellow, pad("trouble", wordWidth)), printable(text))
	}
	n := st.Node
	fmt.Fprintf(b, "%s  %s, %s %s, p2prc %s, up %s, pid %d\n", pad("node", wordWidth), printable(n.Name), n.Role, n.ID.Short(),
		printable(n.Version), lasted(n.Uptime), n.PID)
	for _, r := range st.Proxies {
		how := "active"
		if r.Standby {
			how = "stands by"
		}
		latency := "-"
		if r.LatencyMS != nil {
			latency = milliseconds(*r.LatencyMS, " ms")
		}
		fmt.Fprintf(b, "%s  %s, %s, %s, %s, frps %s, %s\n", pad("proxy", wordWidth), printable(r.As), printable(orDash(r.ServerName)),
			r.State, how, printable(orDash(r.FRPVersion)), latency)
		if r.MaxPorts > 0 {
			fmt.Fprintf(b, "%s  at most %d ports for this node\n", pad("", wordWidth), r.MaxPorts)
		}
	}
	if l := st.Lends; l != nil {
		fmt.Fprintf(b, "%s  %s, %d free; at most %d ports and %d requests a second for a node\n", pad("lends", wordWidth),
			l.Ports, l.Free, l.MaxPerNode, l.MaxPerSecond)
		if l.HTTPPort != 0 || l.HTTPSPort != 0 {
			fmt.Fprintf(b, "%s  by domain: http port %s, https port %s\n", pad("", wordWidth), orNone(l.HTTPPort), orNone(l.HTTPSPort))
		}
	}
	for _, s := range st.Servers {
		fmt.Fprintf(b, "%s  %s, %s, %s, heard %s ago\n", pad("server", wordWidth), printable(s.Name), s.ID.Short(), lentTo(s), age(s.HeardAt, now))
	}
	for _, c := range st.Children {
		fmt.Fprintf(b, "%s  %s\n", pad("child", wordWidth), childLine(c))
	}
	if len(st.Mappings) > 0 {
		b.WriteByte('\n')
		p.writeMappings(b, st.Mappings, now)
	}
}

// lentTo is what a server has here.
func lentTo(s supervisor.ServerStatus) string {
	text := "no mappings"
	if s.Mappings > 0 {
		text = fmt.Sprintf("%d of %d mappings up", s.Up, s.Mappings)
	}
	if s.Reserved > 0 {
		text += fmt.Sprintf(", %d more reserved", s.Reserved)
	}
	return text
}

func childLine(c supervisor.ChildStatus) string {
	text := c.Name + " " + printable(c.Version)
	if c.PID == 0 {
		text += ", does not run"
	} else {
		text += fmt.Sprintf(", up %s, pid %d", lasted(c.Uptime), c.PID)
	}
	text += ", " + counted(c.Restarts, "restart")
	if c.LastError != "" {
		text += ", last: " + printable(c.LastError)
	}
	return text
}

func (p *printer) writeMappings(b *bytes.Buffer, rows []supervisor.MappingStatus, now time.Time) {
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	_ = line(t, []string{"ADDRESS", "TYPE", "NAME", "SERVER", "LOCAL", "STATE", "PROVED", "IN", "OUT", "CONNS", "FROM", "REASON"})
	for _, m := range rows {
		address, local := "-", "-"
		if m.BindPort != 0 {
			address = m.Dial()
		}
		if m.LocalAddress != (netip.AddrPort{}) {
			local = m.LocalAddress.String()
		}
		_ = line(t, []string{
			address, string(m.Type), m.Name, m.ServerName, local, string(shownState(m.Mapping)), age(m.VerifiedAt, now),
			bytesOf(m.Traffic.In), bytesOf(m.Traffic.Out), strconv.Itoa(m.Traffic.Connections), m.From, m.Reason,
		})
	}
	_ = t.Flush() // into memory
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// lasted is a time span in seconds, in the largest unit that fits.
func lasted(seconds float64) string {
	return age(time.Unix(0, 0), time.Unix(0, 0).Add(time.Duration(seconds*float64(time.Second))))
}

// bytesOf is a number of bytes with a unit.
func bytesOf(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	x, i := float64(n), 0
	for x >= 1000 && i < len(units)-1 {
		x, i = x/1000, i+1
	}
	if i == 0 || x >= 10 {
		return strconv.FormatFloat(x, 'f', 0, 64) + units[i]
	}
	return strconv.FormatFloat(x, 'f', 1, 64) + units[i]
}
