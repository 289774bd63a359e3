package tables

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"p2prc/tables/identity"
)

// fastMapping decodes a mapping that is laid out exactly as encode writes it,
// and leaves everything else to encoding/json: other orders, escapes, what is
// not ASCII. It is a fifth of the work, which is what lets a view show 100,000
// mappings in well under a second. A name cannot stand twice in that layout.
func fastMapping(raw []byte) (m Mapping, ok bool) {
	c := cursor{rest: string(raw), ok: true}
	c.skip(`{"server_name":`)
	m.ServerName = c.text()
	c.skip(`,"address":`)
	m.Address = c.addr()
	c.skip(`,"type":`)
	m.Type = Protocol(c.text())
	c.skip(`,"bind_port":`)
	m.BindPort = uint16(c.number(16))
	c.skip(`,"name":`)
	m.Name = c.text()
	c.skip(`,"local_address":`)
	m.LocalAddress = c.addrPort()
	c.skip(`,"state":`)
	m.State = State(c.text())
	c.skip(`,"reason":`)
	m.Reason = c.text()
	if c.has(`,"verified_at":`) {
		m.VerifiedAt = c.time()
	}
	c.skip(`,"proved_by":`)
	m.ProvedBy = c.text()
	if c.has(`,"lease_until":`) {
		m.LeaseUntil = c.time()
	}
	c.skip(`,"node_id":`)
	m.NodeID = identity.ID(c.text())
	c.skip(`,"proxy_id":`)
	m.ProxyID = identity.ID(c.text())
	c.skip(`,"serial":`)
	m.Serial = c.number(64)
	c.skip(`,"lease_id":`)
	m.LeaseID = c.text()
	m.Node = c.has(`,"node":true`)
	m.Standby = c.has(`,"standby":true`)
	m.Learned = c.has(`,"learned":true`)
	if c.has(`,"domain":`) {
		m.Domain = c.text()
	}
	c.skip(`}`)
	return m, c.ok && c.rest == ""
}

// cursor walks through JSON that it knows the order of.
type cursor struct {
	rest string
	ok   bool // nothing unexpected was met
}

// has goes over literal if it is next.
func (c *cursor) has(literal string) bool {
	rest, found := strings.CutPrefix(c.rest, literal)
	c.rest = rest
	return found
}

func (c *cursor) skip(literal string) { c.ok = c.has(literal) && c.ok }

// text is a string without escapes.
func (c *cursor) text() string {
	if c.ok && strings.HasPrefix(c.rest, `"`) {
		for i := 1; i < len(c.rest); i++ {
			switch b := c.rest[i]; {
			case b == '"':
				s := c.rest[1:i]
				c.rest = c.rest[i+1:]
				return s
			case b == '\\' || b < ' ' || b > '~':
				c.ok = false
				return ""
			}
		}
	}
	c.ok = false
	return ""
}

// The next three read a string as encoding/json has its type read it, without
// the copies that an interface would cost.

func (c *cursor) addr() (a netip.Addr) {
	if s := c.text(); s != "" {
		var err error
		a, err = netip.ParseAddr(s)
		c.ok = c.ok && err == nil
	}
	return a
}

func (c *cursor) addrPort() (a netip.AddrPort) {
	if s := c.text(); s != "" {
		var err error
		a, err = netip.ParseAddrPort(s)
		c.ok = c.ok && err == nil
	}
	return a
}

func (c *cursor) time() (t time.Time) {
	s := c.text()
	c.ok = c.ok && t.UnmarshalText([]byte(s)) == nil
	return t
}

// number is an unsigned decimal number.
func (c *cursor) number(bits int) uint64 {
	i := 0
	for i < len(c.rest) && '0' <= c.rest[i] && c.rest[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(c.rest[:i], 10, bits)
	c.ok = c.ok && err == nil && (i == 1 || c.rest[0] != '0') // JSON knows no leading zeros
	c.rest = c.rest[i:]
	return n
}
