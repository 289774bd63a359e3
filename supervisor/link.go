package supervisor

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"p2prc/supervisor/child"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// knockEvery is how often a node that waits to be allowed asks again.
const knockEvery = time.Second

// linkPause bounds the pause between two tries to reach the proxy: a dial costs
// little, and a host that boots before its proxy should not wait long.
const linkPause = 5 * time.Second

// link is the server's standing connection to its reverse proxy: it says
// whether the proxy can be asked, and passes on what the proxy tells.
type link struct {
	client  *peerapi.Client
	backoff *child.Backoff
	log     *slog.Logger
	wake    func()                     // something changed
	knocks  func(proxy netip.AddrPort) // this node waits to be allowed
	ours    func(name string) bool     // a mapping that is to be there
	noWait  bool

	mu      sync.Mutex // guards the rest
	hello   peerapi.Hello
	up      bool
	err     error  // why not, while up is false
	hangUp  func() // ends the event stream; nil while there is none
	frpsUp  bool   // frps came back; taken by takeFRPSUp
	changed bool   // the proxy closed a mapping; taken by takeChanged
}

// state is the proxy's last hello, and why it cannot be asked now.
func (l *link) state() (peerapi.Hello, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return l.hello, cmp.Or(l.err, errNotYet)
	}
	return l.hello, nil
}

var (
	errNotYet   = errors.New("not connected yet")
	errKnocking = errors.New("it does not know this node yet") // it answers, and the user there has to act
)

// recall takes the proxy's row of an earlier run for its hello until there is one.
func (l *link) recall(row tables.ReverseProxy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hello.Proxy.NodeID == "" {
		l.hello.Proxy = row
	}
}

// open connects once: it returns when the proxy admits this node, or why not.
// A node that has to knock waits, unless noWait is set.
func (l *link) open(ctx context.Context) error {
	knocked := false
	for {
		if err := l.client.Connect(ctx); err != nil {
			return l.down(err)
		}
		hello, err := l.client.Hello(ctx)
		if err != nil {
			return l.down(err)
		}
		if hello.Admitted {
			l.mu.Lock()
			l.hello, l.up, l.err = hello, true, nil
			l.changed = true // tell it at once how the mappings are
			l.mu.Unlock()
			return nil
		}
		if l.noWait {
			return l.down(&peerapi.Refusal{Code: peerapi.CodeNotAdmitted, Message: "the reverse proxy does not know this node"})
		}
		if !knocked {
			knocked = true
			_ = l.down(errKnocking)
			l.wake()
			l.knocks(l.client.RemoteAddr())
		}
		select {
		case <-ctx.Done():
			return l.down(ctx.Err())
		case <-time.After(knockEvery):
		}
	}
}

// down notes that the proxy cannot be asked, and why.
func (l *link) down(err error) error {
	l.mu.Lock()
	l.up, l.err = false, err
	hangUp := l.hangUp
	l.mu.Unlock()
	if hangUp != nil {
		hangUp()
	}
	return err
}

// failed takes note of an error of a call: a refusal is an answer, anything
// else means that the proxy is out of reach.
func (l *link) failed(err error) {
	if _, ok := errors.AsType[*peerapi.Refusal](err); !ok {
		_ = l.down(err)
	}
}

// Serve keeps the link up until ctx ends, or the proxy refuses this node for good.
func (l *link) Serve(ctx context.Context) error {
	for ctx.Err() == nil {
		if _, err := l.state(); err != nil {
			err = l.open(ctx)
			l.wake()
			if err != nil {
				l.log.Debug("reverse proxy is out of reach", "err", err)
				select {
				case <-ctx.Done():
				case <-time.After(min(l.backoff.Next(0), linkPause)):
				}
				continue
			}
		}
		l.backoff.Healthy()
		err := l.listen(ctx)
		_ = l.down(cmp.Or(err, errors.New("the connection ended")))
		l.wake()
	}
	return ctx.Err()
}

// listen hears the proxy's events until the stream ends, or a call shows that
// the proxy is out of reach: the stream itself notices only after 30 s.
func (l *link) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.hangUp = cancel
	up, err := l.up, l.err
	l.mu.Unlock()
	if up {
		err = l.client.Events(ctx, l.heard)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hangUp = nil
	if !l.up {
		return l.err // what the call saw says more
	}
	return err
}

func (l *link) heard(ev peerapi.Event) {
	if ev.Kind == peerapi.EventPing || ev.Kind == peerapi.EventClosed && !l.ours(ev.Name) {
		return
	}
	l.mu.Lock()
	switch ev.Kind {
	case peerapi.EventFRPSUp:
		l.frpsUp, l.changed = true, true
	default:
		l.changed = true
	}
	l.mu.Unlock()
	l.wake()
}

// take reports, once, that frps came back and that the proxy's side changed.
func (l *link) take() (frpsUp, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	frpsUp, changed = l.frpsUp, l.changed
	l.frpsUp, l.changed = false, false
	return frpsUp, changed
}

// refusal turns what the proxy said, or that nothing could be heard of it,
// into a failure with a way out.
func refusal(proxy string, self identity.ID, err error) *Failure {
	if pin, ok := errors.AsType[*identity.PinError](err); ok {
		return fail(Refused, "was it really set up anew? then use its new join string (p2prc --join-string there), and move private/proxies.json in the state directory away if there is one",
			"reverse proxy %s has another identity: expected %s, got %s", proxy, pin.Want, pin.Got)
	}
	if r, ok := errors.AsType[*peerapi.Refusal](err); ok {
		switch r.Code {
		case peerapi.CodeNotAdmitted:
			return fail(Refused, "run this at the reverse proxy: p2prc --allow "+string(self), "reverse proxy %s: %w", proxy, err)
		case peerapi.CodeRevoked:
			return fail(Refused, "to let it in again, run at the reverse proxy: p2prc --allow "+string(self), "reverse proxy %s has revoked this node", proxy)
		case peerapi.CodeBadToken:
			return fail(Refused, "p2prc --join-string at the reverse proxy prints the valid one", "reverse proxy %s: %w", proxy, err)
		case peerapi.CodeQuota:
			return fail(Refused, "map fewer ports, or use another reverse proxy", "reverse proxy %s: %w", proxy, err)
		case peerapi.CodePoolFull:
			return fail(NoPort, "a larger --ports range at the reverse proxy makes room", "reverse proxy %s: %w", proxy, err)
		case peerapi.CodePortTaken:
			return fail(NoPort, "leave the port out to get a free one", "reverse proxy %s: %w", proxy, err)
		case peerapi.CodeDomainTaken:
			return fail(Refused, "a domain belongs to the node that had it first, until that has not used it for long", "reverse proxy %s: %w", proxy, err)
		case peerapi.CodeNoDomains:
			return fail(Refused, "map a port, or start the reverse proxy with --http-port or --https-port", "reverse proxy %s: %w", proxy, err)
		case peerapi.CodeFRPTooOld:
			return fail(FRPUnusable, "install frp 0.61 or newer here", "reverse proxy %s: %w", proxy, err)
		}
		return fail(Other, "", "reverse proxy %s: %w", proxy, err)
	}
	if errors.Is(err, peerapi.ErrWrongProof) {
		return fail(Refused, "p2prc --join-string at the reverse proxy prints its address and token", "reverse proxy %s: %w", proxy, err)
	}
	if errors.Is(err, peerapi.ErrNoP2PRC) {
		return fail(ProxyUnreachable, "check the address and port; a reverse proxy is started with: p2prc -s --reverse-proxy", "reaching reverse proxy %s: %w", proxy, err)
	}
	return fail(ProxyUnreachable, "check that p2prc -s --reverse-proxy runs there and that its firewall lets TCP to that port through", "reaching reverse proxy %s: %w", proxy, err)
}
