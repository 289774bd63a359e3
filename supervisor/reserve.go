package supervisor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"p2prc/frpconf"
	"p2prc/supervisor/failpoint"
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

// maxDomains is the same where there are domains: an answer repeats them, twice.
const maxDomains = maxWants / 2

// getLeases is step 1: every mapping without a live lease gets one. An error
// is one that waiting does not cure.
func (a *attachment) getLeases(ctx context.Context) error {
	now := time.Now()
	hello, down := a.link.state()
	if down != nil || now.Before(a.due.reserve) {
		return nil
	}
	// All or none of a request is granted, so that what was refused before, or
	// came later, does not stand in the way of the rest.
	var first, live, again []*mapping
	for _, m := range a.maps {
		switch {
		case m.Type.ByName() && hello.Proxy.NamePort(m.Type) == 0: // one that knows no domains would refuse all of a request
			m.refused, m.blame = fmt.Sprintf("the reverse proxy lends no %s domains: it was started without --%[1]s-port", m.Type.FRP()), Refused
		case !m.needsLease(now):
		case m.refused != "":
			again = append(again, m)
		case m.live:
			live = append(live, m)
		default:
			first = append(first, m)
		}
	}
	for _, need := range [][]*mapping{first, live, again} {
		most := maxWants
		if slices.ContainsFunc(need, func(m *mapping) bool { return m.Type.ByName() }) {
			most = maxDomains
		}
		for batch := range slices.Chunk(need, most) {
			if done, err := a.reserveParts(ctx, hello, batch); !done || err != nil {
				return err
			}
		}
	}
	return nil
}

// reserveParts reserves a batch. Where some of its ports are taken it tries
// again in halves: the others can be had. done is false when nothing more can
// be asked for now.
func (a *attachment) reserveParts(ctx context.Context, hello peerapi.Hello, batch []*mapping) (done bool, err error) {
	err = a.reserve(ctx, hello, batch)
	if err == nil {
		return true, nil
	}
	r, refused := errors.AsType[*peerapi.Refusal](err)
	taken := refused && (r.Code == peerapi.CodePortTaken || r.Code == peerapi.CodeDomainTaken)
	if taken && len(batch) > 1 && !slices.Contains(batch, a.maps[0]) {
		half := len(batch) / 2
		if done, err = a.reserveParts(ctx, hello, batch[:half]); !done || err != nil {
			return done, err
		}
		return a.reserveParts(ctx, hello, batch[half:])
	}
	return refused && r.Code != peerapi.CodeUnavailable, a.notGranted(batch, err)
}

// reserve asks for the leases of one batch, all or none.
func (a *attachment) reserve(ctx context.Context, hello peerapi.Hello, batch []*mapping) error {
	req := peerapi.ReserveRequest{ID: rand.Text(), Name: a.s.o.Name}
	known := a.s.memory.at(a.up.Host, a.up.Port).byName()
	for _, m := range batch {
		w := peerapi.Want{Name: m.Name, Type: m.Type, Port: m.Remote, Another: m.another, Domain: m.Domain}
		if !m.another && !m.Type.ByName() {
			w.Lease = known[m.Name].Signed
			w.Candidates = a.s.standing.lentElsewhere(m.Name)
		}
		if m == a.maps[0] {
			last := known[m.Name]
			candidates, err := a.s.port.candidates(hello.Proxy.Ports, last.Port, last.LocalPort)
			if err != nil {
				return err
			}
			w.Candidates = candidates
		}
		req.Wants = append(req.Wants, w)
	}
	failpoint.Hit("server-reserving")
	sent := time.Now()
	reply, err := a.link.client.Reserve(ctx, req)
	if err != nil {
		return err
	}
	failpoint.Hit("server-reserved")
	if len(reply.Leases) != len(batch) {
		return fmt.Errorf("reserving ports: %d leases for %d mappings", len(reply.Leases), len(batch))
	}
	if a.due.settled.IsZero() {
		a.due.settled = sent.Add(settleFor)
	}
	for i, m := range batch {
		m.grant(reply.Leases[i], sent)
		a.s.standing.lend(m)
	}
	if own := a.maps[0]; slices.Contains(batch, own) {
		// The last thing: those that stand by wait for it, and then ask for the
		// ports that were lent here.
		own.Local = a.s.port.choose(own.lease.Port)
	}
	a.unclaimed = true
	return a.learn(hello, reply, batch)
}

// grant takes a lease over. What was proved stays proved only under the same
// lease on the same port.
func (m *mapping) grant(l peerapi.Lease, sent time.Time) {
	if m.lease == nil || m.lease.ID != l.ID || m.lease.Port != l.Port {
		m.dropLease()
		if l.Proved && !l.Guarded {
			m.port = yes("the reverse proxy's records", sent)
		}
	}
	m.lease = &held{Lease: l, until: deadline{sent: sent, ttl: l.TTL.Duration()}, signed: sent}
	m.another, m.refused = false, ""
}

// learn remembers who the proxy is and what it granted, and writes the
// certificate that frpc is to trust. Who a new one is must be durable before
// anyone is told; that takes as long as frpc to start and goes on beside it:
// remembered waits for it. The leases alone may come later: they are for a
// proxy that has lost its tables, and all of them are written each time.
func (a *attachment) learn(hello peerapi.Hello, reply peerapi.ReserveReply, batch []*mapping) error {
	if err := a.remembered(); err != nil {
		return err
	}
	if a.frp == nil || !bytes.Equal(a.frp.CertPEM, reply.FRP.CertPEM) {
		if err := a.trust(reply.FRP); err != nil {
			return err
		}
	}
	a.frp = &reply.FRP
	known := a.s.memory.at(a.up.Host, a.up.Port)
	stranger := known.Pin != hello.Proxy.NodeID
	known.Pin = hello.Proxy.NodeID
	leases := known.byName()
	for _, m := range batch {
		k := kept{Name: m.Name, Port: m.lease.Port}
		if !m.Type.ByName() { // who lost its tables gives a domain to the first that asks
			k.Signed = m.lease.Signed
		}
		if m == a.maps[0] {
			k.LocalPort = m.Local.Port()
		}
		leases[m.Name] = k
	}
	known.Leases = known.Leases[:0:0]
	for _, m := range a.maps { // only what is still mapped
		if k, ok := leases[m.Name]; ok {
			known.Leases = append(known.Leases, k)
		}
	}
	if !stranger {
		a.s.memory.keepSoon(known)
		return nil
	}
	done := make(chan error, 1)
	a.learnt = done
	go func() {
		err := a.s.memory.keep(known)
		failpoint.Hit("server-lease-kept")
		done <- err
	}()
	return nil
}

// remembered returns once what was learnt is on disk, or why it is not.
func (a *attachment) remembered() error {
	if a.learnt == nil {
		return nil
	}
	err := <-a.learnt
	a.learnt = nil
	if err != nil {
		return stateFailure(err)
	}
	return nil
}

// trust writes the certificate that frpc is to trust, unless it is there.
func (a *attachment) trust(f peerapi.FRP) error {
	if b, err := os.ReadFile(a.trusted(f)); err == nil && bytes.Equal(b, f.CertPEM) {
		return nil
	}
	if err := atomicfile.Write(a.trusted(f), f.CertPEM, 0o600); err != nil {
		return fmt.Errorf("writing the certificate of the reverse proxy's frps: %w", err)
	}
	return nil
}

// trusted is the file of the certificate that frpc is to trust. It is named
// after what is in it: a running frpc goes on with the one that it has read.
func (a *attachment) trusted(f peerapi.FRP) string {
	return a.s.dir.Private(fmt.Sprintf("frps-%x.crt", sha256.Sum256(f.CertPEM)))
}

// notGranted deals with a reservation that failed. Before anything was shown
// to work, a refusal ends p2prc; later it is a row's reason.
func (a *attachment) notGranted(batch []*mapping, err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	a.due.reserve = time.Now().Add(spread(retryEvery))
	r, refused := errors.AsType[*peerapi.Refusal](err)
	switch {
	case !refused:
		a.link.failed(err)
		a.log.Warn("reserving ports", "err", err)
		return nil
	case r.Code == peerapi.CodeNotAdmitted:
		_ = a.link.down(err) // the link knocks again
		return nil
	case r.Code == peerapi.CodeRevoked, r.Code != peerapi.CodeUnavailable && !a.told && !batch[0].live:
		return refusal(a.proxy(), a.s.key.ID(), err)
	}
	for _, m := range batch {
		m.refused, m.blame = "the reverse proxy gives no port: "+r.Message, NoPort
		switch r.Code {
		case peerapi.CodeQuota:
			m.blame = Refused
		case peerapi.CodeDomainTaken, peerapi.CodeNoDomains:
			m.refused, m.blame = "the reverse proxy refuses it: "+r.Message, Refused
		case peerapi.CodeUnavailable:
			m.blame = TimedOut // it asks to be asked again
		}
	}
	return nil
}

// shutOut is set once the proxy has revoked this node: no waiting cures that.
func (a *attachment) shutOut() *Failure {
	_, err := a.link.state()
	if r, ok := errors.AsType[*peerapi.Refusal](err); ok && r.Code == peerapi.CodeRevoked {
		return refusal(a.proxy(), a.s.key.ID(), err)
	}
	return nil
}

func (a *attachment) proxyName(m *mapping) string {
	return frpconf.ProxyName(string(a.s.key.ID()), m.Name)
}

func retryMeta(m *mapping) map[string]string {
	meta := map[string]string{metaLease: m.lease.ID}
	if m.try > 0 {
		meta[metaTry] = fmt.Sprint(m.try)
	}
	return meta
}
