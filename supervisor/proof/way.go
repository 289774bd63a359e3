package proof

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"

	"p2prc/tables"
)

// Way is how a question gets to a guard or a canary.
type Way struct {
	Type   tables.Protocol
	Addr   netip.AddrPort
	Domain string      // of HTTP and HTTPS; no DNS is asked for it
	TLS    *tls.Config // of HTTPS: who must answer
}

// ask puts a question, over HTTP a canary's, and waits for the right answer.
func (w Way) ask(ctx context.Context, q []byte, right func([]byte) bool) error {
	switch w.Type {
	case tables.HTTP:
		return converse(ctx, w.Addr, func(_ context.Context, conn net.Conn) error {
			return askHTTP(conn, w.Domain, q[magicLen:], right)
		})
	case tables.HTTPS:
		conf := w.TLS.Clone()
		conf.ServerName = w.Domain
		return converse(ctx, w.Addr, func(ctx context.Context, conn net.Conn) error {
			return askTLS(ctx, conn, conf, q, right)
		})
	}
	return exchange(ctx, w.Type, w.Addr, q, right)
}
