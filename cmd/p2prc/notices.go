package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2prc/supervisor"
	"p2prc/tables"
	"p2prc/tables/identity"
)

// notice shows what a running role has to say.
func (p *printer) notice(n supervisor.Notice) {
	switch n := n.(type) {
	case supervisor.ProxyReady:
		p.proxyReady(n)
	case supervisor.Mapped:
		p.mapped(n)
	case supervisor.Knocking:
		p.event("waiting", yellow, "the reverse proxy %s does not know this node yet; there, run: p2prc --allow %s", n.Proxy, n.ID)
	case supervisor.Knocked:
		p.event("knock", yellow, "node %q from %s wants in; to admit it, run: p2prc%s --allow %s", n.Name, n.From, p.dirFlag, n.ID)
	case supervisor.Chosen:
		what := "chose"
		if n.Standby {
			what = "to stand by, chose"
		}
		p.note("%s %s (%s) of %d: %s away, %d leases, %d ports free; %s",
			what, n.Name, n.Proxy, n.Of, milliseconds(float64(n.Latency.Microseconds())/1000, " ms"), n.Load, n.Free, n.Why)
	case supervisor.Reloaded:
		if n.Err != nil {
			p.fail(n.Err)
		} else {
			p.reloaded(n.ReloadReply)
		}
	case supervisor.Retrying:
		text := fmt.Sprintf("%s: %v", n.Proxy, n.Err)
		if text != p.retrying {
			p.retrying = text
			p.event("retrying", yellow, "%s", text)
		}
	}
}

// wordWidth is that of the word that a line begins with: "reachable".
const wordWidth = 9

// event is one line about something that happened just now.
func (p *printer) event(word, color, format string, args ...any) {
	fmt.Fprintf(p.err, "%s %s  %s\n", p.clock(), paint(p.errColor, color, pad(word, wordWidth)),
		printable(fmt.Sprintf(format, args...)))
}

func (p *printer) clock() string { return p.now().Format(time.TimeOnly) }

// proxyReady says how to use this reverse proxy, then what may be in the way.
func (p *printer) proxyReady(n supervisor.ProxyReady) {
	row := n.Row
	if p.ready {
		p.event("ready", green, "reverse proxy %s, frps %s", row.ServerName, row.FRPVersion)
		return
	}
	p.ready = true
	node := netip.AddrPortFrom(row.Address, row.NodePort)
	how := "in " + took(n.Took)
	if n.Adopted {
		how = "already running"
	}
	join := "p2prc" + p.dirFlag + " --join-string prints what a server needs"
	switch {
	case n.Open:
		join = "p2prc -s --connect-reverse-proxy " + node.String()
	case !p.journal:
		join = "p2prc -s --connect-reverse-proxy " + shellQuote(n.JoinString)
	}
	pool := row.Ports.String()
	named := strings.Join(namePorts(row), ", ")
	width := max(len(node.String()), len(pool), len(named))
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-*s   reverse proxy %s, frps %s, %s\n", paint(p.outColor, green, pad("ready", wordWidth)),
		width, node, printable(row.ServerName), printable(row.FRPVersion), how)
	fmt.Fprintf(&b, "%s  %-*s   TCP and UDP, %d free\n", pad("lends", wordWidth), width, pool, row.PortsFree)
	if named != "" {
		fmt.Fprintf(&b, "%s  %-*s   by domain\n", pad("lends", wordWidth), width, named)
	}
	fmt.Fprintf(&b, "%s  %s\n", pad("join", wordWidth), printable(join))
	fmt.Fprint(p.out, b.String())

	more := ""
	for _, port := range []uint16{row.HTTPPort, row.HTTPSPort} {
		if port != 0 {
			more += fmt.Sprintf("TCP %d, ", port)
		}
	}
	p.note("the firewall has to let in TCP %d, TCP %d, %sand TCP and UDP %s", row.NodePort, row.FRPPort, more, row.Ports)
	p.note("list: p2prc%s --view-rps, p2prc%[1]s --view-rpm   stop: Ctrl-C", p.dirFlag)
	for _, w := range n.Warnings {
		p.warn(w)
	}
}

// namePorts are the ports on which a reverse proxy lends domains, with what is
// spoken there.
func namePorts(row tables.ReverseProxy) (ports []string) {
	for _, proto := range []tables.Protocol{tables.HTTP, tables.HTTPS} {
		if port := row.NamePort(proto); port != 0 {
			ports = append(ports, fmt.Sprintf("%d/%s", port, proto.FRP()))
		}
	}
	return ports
}

// mapped shows every row of a reverse proxy the first time, later each that changed.
func (p *printer) mapped(n supervisor.Mapped) {
	p.retrying = ""
	if p.rows == nil {
		p.rows = make(map[tables.MappingKey]tables.Mapping)
	}
	known := make(map[tables.MappingKey]bool, len(n.Rows))
	var changed []tables.Mapping
	for _, row := range n.Rows {
		known[row.Key()] = true
		if old, ok := p.rows[row.Key()]; !ok || !sameToTheEye(old, row) {
			changed = append(changed, row)
		}
		p.rows[row.Key()] = row
	}
	stamp := ""
	if !n.First {
		stamp = p.clock() + " "
	}
	fmt.Fprint(p.out, p.block(stamp, changed, n.Proxy))
	p.gone(n.Proxy.NodeID, known)
	if n.First {
		p.relay(n)
	}
}

// gone tells of the rows of a reverse proxy that are not known any more.
func (p *printer) gone(proxy identity.ID, known map[tables.MappingKey]bool) {
	var gone []tables.Mapping
	for key, row := range p.rows {
		if key.ProxyID == proxy && !known[key] {
			gone = append(gone, row)
			delete(p.rows, key)
		}
	}
	slices.SortFunc(gone, func(a, b tables.Mapping) int { return cmp.Compare(a.Name, b.Name) })
	for i, row := range gone {
		if i == mostLines {
			p.event("gone", yellow, "and %d more", len(gone)-i)
			return
		}
		p.event("gone", yellow, "%s  %s", publicEnd(row), row.Name)
	}
}

// relay says what the mappings lean on, and what to do next.
func (p *printer) relay(n supervisor.Mapped) {
	up := 0
	for _, row := range n.Rows {
		if row.State == tables.Up {
			up++
		}
	}
	how := fmt.Sprintf("%d of %d up after %s", up, len(n.Rows), took(n.Took))
	if up == len(n.Rows) {
		how = "ready in " + took(n.Took)
	}
	if n.Proxy.Address.IsValid() {
		p.note("relay %s:%d, frps %s, reverse proxy %s; %s",
			n.Proxy.Address, n.Proxy.FRPPort, n.Proxy.FRPVersion, n.Proxy.ServerName, how)
	}
	p.note("list: p2prc%s --view-rpm   stop: Ctrl-C", p.dirFlag)
}

// sameToTheEye leaves out what changes with every proof.
func sameToTheEye(a, b tables.Mapping) bool {
	return a.State == b.State && a.Reason == b.Reason && a.Standby == b.Standby && a.Public() == b.Public() && a.Domain == b.Domain &&
		a.LocalAddress == b.LocalAddress && a.Type == b.Type
}

// mostLines is how many rows are told of at a time; a list has all.
const mostLines = 50

// block lays rows out, one a line: state, what to dial, where it leads, why. Of very
// many it shows some, and first those that are not up.
func (p *printer) block(stamp string, rows []tables.Mapping, proxy tables.ReverseProxy) string {
	more := ""
	if len(rows) > mostLines {
		slices.SortStableFunc(rows, func(a, b tables.Mapping) int {
			return cmp.Compare(rank(a.State), rank(b.State))
		})
		more = fmt.Sprintf("%s%s  and %d more\n", stamp, pad("...", wordWidth), len(rows)-mostLines)
		rows = rows[:mostLines]
	}
	var public, local int
	for _, row := range rows {
		public, local = max(public, len(publicEnd(row))), max(local, len(localEnd(row)))
	}
	var b strings.Builder
	for _, row := range rows {
		word, color := stateWord(row)
		fmt.Fprintf(&b, "%s%s  %-*s  ->  %-*s     %s\n", stamp, paint(p.outColor, color, pad(word, wordWidth)),
			public, publicEnd(row), local, localEnd(row), printable(remark(row, proxy)))
	}
	b.WriteString(more)
	return b.String()
}

// rank puts trouble first.
func rank(s tables.State) int {
	if s == tables.Up {
		return 1
	}
	return 0
}

func stateWord(m tables.Mapping) (word, color string) {
	switch {
	case m.State == tables.Up && m.Standby:
		return "standby", green
	case m.State == tables.Up:
		return "reachable", green
	case m.State == tables.Down:
		return "down", red
	}
	return "waiting", yellow
}

func publicEnd(m tables.Mapping) string {
	if m.BindPort == 0 {
		return "no port yet"
	}
	return m.Dial() + suffix(m.Type)
}

func localEnd(m tables.Mapping) string {
	if !m.LocalAddress.IsValid() {
		return "-"
	}
	return m.LocalAddress.String() + suffix(m.Type)
}

// suffix is the protocol as a SPEC has it. TCP goes without saying.
func suffix(t tables.Protocol) string {
	if t == tables.TCP {
		return ""
	}
	return "/" + t.FRP()
}

// remark says why one may believe the row. The node's own port needs no name.
func remark(m tables.Mapping, proxy tables.ReverseProxy) string {
	text := m.Reason
	if m.State == tables.Up {
		text = "proved from here"
		if m.ProvedBy != m.ServerName && m.ProvedBy != string(m.NodeID) {
			text = "proved by " + m.ProvedBy
		}
		if m.Node && proxy.LatencyMS != nil {
			text += " in " + milliseconds(*proxy.LatencyMS, " ms")
		}
	}
	if m.Node && m.Type == tables.TCP {
		return text
	}
	return m.Name + ": " + text
}

// milliseconds has a digit behind the point only where it matters.
func milliseconds(ms float64, unit string) string {
	digits := 0
	if ms < 10 {
		digits = 1
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + unit
}

func took(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func pad(s string, width int) string { return fmt.Sprintf("%-*s", width, s) }
