package supervisor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"p2prc/frpconf"
	"p2prc/tables/atomicfile"
	"p2prc/tables/peerapi"
)

// Keys of the metadatas that the gate reads: the first two at login, the
// third with each mapping. The last one only makes frpc try again.
const (
	metaNode       = "p2prc-node"
	metaCredential = "p2prc-credential"
	metaLease      = "p2prc-lease"
	metaTry        = "p2prc-try"
)

// maxWants is how many mappings go into one reservation request, which may
// have peerapi.MaxBody bytes.
const maxWants = 1000

// getLeases is step 1: every mapping without a live lease gets one. An error
// is one that waiting does not cure.
func (s *server) getLeases(ctx context.Context) error {
	now := time.Now()
	hello, down := s.link.state()
	if down != nil || now.Before(s.due.reserve) {
		return nil
	}
	var need []*mapping
	for _, m := range s.maps {
		if !m.holds(now) {
			need = append(need, m)
		}
	}
	for len(need) > 0 {
		batch := need[:min(len(need), maxWants)]
		need = need[len(batch):]
		if err := s.reserve(ctx, hello, batch); err != nil {
			return s.notGranted(batch, err)
		}
	}
	return nil
}

// reserve asks for the leases of one batch, all or none.
func (s *server) reserve(ctx context.Context, hello peerapi.Hello, batch []*mapping) error {
	req := peerapi.ReserveRequest{ID: rand.Text(), Name: s.o.Name}
	known := s.memory.at(s.o.Host, s.o.Port)
	for _, m := range batch {
		w := peerapi.Want{Name: m.Name, Type: m.Type, Port: m.Remote, Another: m.another}
		if !m.another {
			w.Lease = known.lease(m.Name).Signed
		}
		if m == s.maps[0] {
			candidates, err := s.port.candidates(hello.Proxy.Ports, known.lease(m.Name).Port)
			if err != nil {
				return err
			}
			w.Candidates = candidates
		}
		req.Wants = append(req.Wants, w)
	}
	sent := time.Now()
	reply, err := s.link.client.Reserve(ctx, req)
	if err != nil {
		return err
	}
	if len(reply.Leases) != len(batch) {
		return fmt.Errorf("reserving ports: %d leases for %d mappings", len(reply.Leases), len(batch))
	}
	if s.due.settled.IsZero() {
		s.due.settled = sent.Add(settleFor)
	}
	for i, m := range batch {
		m.grant(reply.Leases[i], sent)
		if m == s.maps[0] {
			m.Local = s.port.choose(m.lease.Port)
		}
	}
	return s.learn(hello, reply, batch)
}

// grant takes a lease over. What was proved stays proved only under the same
// lease on the same port.
func (m *mapping) grant(l peerapi.Lease, sent time.Time) {
	if m.lease == nil || m.lease.ID != l.ID || m.lease.Port != l.Port {
		m.dropLease()
		if l.Proved && !l.Guarded {
			m.port = yes("reverse proxy's records", sent)
		}
	}
	m.lease = &held{Lease: l, until: deadline{sent: sent, ttl: l.TTL.Duration()}}
	m.another, m.refused = false, ""
}

// learn remembers, durably, who the proxy is and what it granted, and writes
// the certificate that frpc is to trust.
func (s *server) learn(hello peerapi.Hello, reply peerapi.ReserveReply, batch []*mapping) error {
	if s.frp == nil || !bytes.Equal(s.frp.CertPEM, reply.FRP.CertPEM) {
		if err := atomicfile.Write(s.trusted(reply.FRP), reply.FRP.CertPEM, 0o600); err != nil {
			return fmt.Errorf("writing the certificate of the reverse proxy's frps: %w", err)
		}
	}
	s.frp = &reply.FRP
	known := s.memory.at(s.o.Host, s.o.Port)
	known.Pin = hello.Proxy.NodeID
	leases := make(map[string]kept, len(known.Leases))
	for _, k := range known.Leases {
		leases[k.Name] = k
	}
	for _, m := range batch {
		leases[m.Name] = kept{Name: m.Name, Port: m.lease.Port, Signed: m.lease.Signed}
	}
	known.Leases = known.Leases[:0:0]
	for _, m := range s.maps { // only what is still mapped
		if k, ok := leases[m.Name]; ok {
			known.Leases = append(known.Leases, k)
		}
	}
	return s.memory.keep(known)
}

// trusted is the file of the certificate that frpc is to trust. It is named
// after what is in it: a running frpc goes on with the one that it has read.
func (s *server) trusted(f peerapi.FRP) string {
	return s.dir.Private(fmt.Sprintf("frps-%x.crt", sha256.Sum256(f.CertPEM)))
}

// notGranted deals with a reservation that failed. Before anything was shown
// to work, a refusal ends p2prc; later it is a row's reason.
func (s *server) notGranted(batch []*mapping, err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	s.due.reserve = time.Now().Add(spread(retryEvery))
	r, refused := errors.AsType[*peerapi.Refusal](err)
	switch {
	case !refused:
		s.link.failed(err)
		s.log.Warn("reserving ports", "err", err)
		return nil
	case r.Code == peerapi.CodeNotAdmitted:
		_ = s.link.down(err) // the link knocks again
		return nil
	case r.Code == peerapi.CodeRevoked, r.Code != peerapi.CodeUnavailable && !s.told:
		return refusal(s.proxy(), s.key.ID(), err)
	}
	for _, m := range batch {
		m.refused = "the reverse proxy gives no port: " + r.Message
	}
	return nil
}

// shutOut is set once the proxy has revoked this node: no waiting cures that.
func (s *server) shutOut() *Failure {
	_, err := s.link.state()
	if r, ok := errors.AsType[*peerapi.Refusal](err); ok && r.Code == peerapi.CodeRevoked {
		return refusal(s.proxy(), s.key.ID(), err)
	}
	return nil
}

func (s *server) proxyName(m *mapping) string {
	return frpconf.ProxyName(string(s.key.ID()), m.Name)
}

func retryMeta(m *mapping) map[string]string {
	meta := map[string]string{metaLease: m.lease.ID}
	if m.try > 0 {
		meta[metaTry] = fmt.Sprint(m.try)
	}
	return meta
}
