package mesh

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"
)

// How memberlist is set: its values for a LAN, but for those below.
const (
	// A probe crosses the world, and may have to dial first.
	probeTimeout  = 2 * time.Second
	probeInterval = 3 * time.Second
	// Half the usual, since three or four rounds stand between a record and the
	// last of 50 members. A round without news sends nothing.
	gossipInterval = 100 * time.Millisecond
	// A packet is a piece of a TCP connection: larger ones cost nothing, and
	// every record has to fit.
	maxPacket = 16 << 10
	// streamWait bounds a push/pull with everything in it.
	streamWait = 10 * time.Second
)

func (m *Mesh) config(t *transport) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = string(m.o.Key.ID())
	c.Transport = t
	c.AdvertiseAddr, c.AdvertisePort = m.o.Address.Addr().String(), int(m.o.Address.Port())
	c.BindPort = c.AdvertisePort
	c.ProbeTimeout, c.ProbeInterval = probeTimeout, probeInterval
	c.GossipInterval = gossipInterval
	c.TCPTimeout = streamWait
	c.UDPBufferSize = maxPacket
	c.RequireNodeNames = true
	// Records do not compress, and what is not expected needs no bound.
	c.EnableCompression = false
	// An address is vouched for: a dead member that comes back at another one is
	// itself.
	c.DeadNodeReclaimTime = time.Millisecond
	d := delegate{m, t}
	c.Delegate, c.Events, c.Alive, c.Ping = d, d, d, d
	c.Logger = log.New(logWriter{m.o.Log}, "", 0)
	if m.pace.tune != nil {
		m.pace.tune(c)
	}
	return c
}

// logWriter makes memberlist's lines debug lines: what matters of them is told
// as events. Names in them come from others, and slog quotes those.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	if w.log.Enabled(context.Background(), slog.LevelDebug) {
		w.log.Debug("memberlist reports", "err", string(bytes.TrimSpace(b)))
	}
	return len(b), nil
}
