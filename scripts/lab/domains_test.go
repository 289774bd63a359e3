//go:build linux

package lab

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The domains of the two services. No DNS knows them: whoever asks says where
// they are, as the DNS would.
const (
	siteDomain   = "app.example.org"
	secureDomain = "secure.example.org"
)

// sites is a lab in which a server behind NAT has two services by domain, and a
// second reverse proxy, far from both ends, hears of them.
type sites struct {
	*lab
	proxy, far, server *node
	web                *process // the HTTP service
	cert               string   // of the HTTPS service, a file
}

// near lets nodes dial each other in the lab, whose addresses are for documents.
const near = "--private-addresses"

// newSites starts all but the server.
func newSites(t *testing.T) *sites {
	t.Helper()
	l := newLab(t)
	s := &sites{lab: l, web: l.lan.startHelper("web", "127.0.0.1:8000"), cert: filepath.Join(t.TempDir(), "cert.pem")}
	l.lan.startHelper("secure", "127.0.0.1:8443", secureDomain, s.cert)
	s.proxy = l.pub.reverseProxy("edge", "--public-address", pubAddr, "--http-port", "80", "--https-port", "443", near)
	s.far = l.ext.reverseProxy("far", "--public-address", extAddr, "--join", pubAddr, near)
	s.proxy.run(nil)
	s.proxy.awaitReady()
	s.far.run(nil)
	s.far.awaitReady()
	s.server = l.server("home", s.proxy.joinString(), "site="+siteDomain+"=8000/http", "secure="+secureDomain+"=8443/https")
	s.server.args = append(s.server.args, near)
	return s
}

// TestDomains: strangers reach services behind NAT by their domains, and nothing
// by others; everybody's table says which there are, and when one is not.
func TestDomains(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	l := s.lab
	started := time.Now()
	s.server.run(nil)
	s.awaitUp("all started", started)

	s.sub("a wrong domain", func(t *testing.T) {
		page, err := l.ext.run("curl", "-sS", "--max-time", "2", "-w", "%{http_code}", "-H", "Host: nobody.example.org", "http://"+pubAddr+"/")
		if err != nil || !strings.HasSuffix(page, "404") || !strings.Contains(page, "frp") {
			t.Errorf("over HTTP: %v, %s", err, page)
		}
		if got, err := s.visit("https", "nobody.example.org", 443); err == nil {
			t.Errorf("over HTTPS: %q", got)
		}
		// Nor does the one lead to the other's service.
		if got, err := s.visit("http", secureDomain, 80); err == nil {
			t.Errorf("a domain of HTTPS over HTTP: %q", got)
		}
	})
	s.sub("a client that only asks", func(t *testing.T) {
		client := l.ext.node("client")
		client.askOnHost("--add-server", pubAddr, near)
		if err := s.listed(client, time.Time{}); err != nil {
			t.Error(err)
		}
		list := client.ask("--view-rpm")
		for _, address := range []string{siteDomain + ":80 ", secureDomain + ":443 "} {
			if !strings.Contains(list, address) {
				t.Error(missing{address, list})
			}
		}
		if strings.Contains(list, "p2prc.invalid") {
			t.Errorf("others hear of canaries:\n%s", list)
		}
	})
	s.sub("frpc dies", func(*testing.T) {
		killed := time.Now()
		s.server.killFRP("frpc")
		s.awaitUp("frpc killed", killed)
	})
	s.sub("the service dies", func(*testing.T) {
		killed := time.Now()
		s.web.kill()
		const reason = "nothing listens on 127.0.0.1:8000"
		for _, n := range []*node{s.server, s.proxy, s.far} {
			await(l.t, n.name+" says so", downLimit, func() error {
				r, ok := n.row("home", "site")
				if !ok || r.State == up || r.Reason != reason {
					return fmt.Errorf("at %s: %v", n.name, r)
				}
				return nil
			})
		}
		l.t.Logf("the service killed: all tables say so after %s", seconds(time.Since(killed)))
		if r, ok := s.far.row("home", "secure"); !ok || r.State != up {
			l.t.Errorf("the other service: %v", r)
		}
		l.lan.startHelper("web", "127.0.0.1:8000")
		s.awaitUp("the service is back", time.Time{})
	})
	s.sub("the server dies", func(*testing.T) {
		killed := time.Now()
		s.server.kill()
		s.server.killFRP("frpc")
		await(l.t, "far says so", deadLimit, func() error {
			for _, name := range []string{"site", "secure"} {
				if r, ok := s.far.row("home", name); ok && (r.State == up || r.Reason == "") {
					return fmt.Errorf("at far: %v", r)
				}
			}
			return nil
		})
		l.t.Logf("the server killed: far says so after %s", seconds(time.Since(killed)))
		again := time.Now()
		s.server.run(nil)
		s.awaitUp("the server is back", again)
	})
	s.sub("the server goes", func(*testing.T) {
		s.server.stop()
		await(l.t, "its rows are gone", byeLimit, func() error {
			for _, r := range s.far.rows() {
				if r.ServerName == "home" {
					return fmt.Errorf("at far: %v", r)
				}
			}
			return nil
		})
	})
}

// TestDomains_witness: the router lets the server dial everything but the two
// ports of all domains. The other reverse proxy asks there for it, so its rows are
// up, as its port is, which it dials itself; and when the ports are closed to all
// they are not.
func TestDomains_witness(t *testing.T) {
	t.Parallel()
	s := newSites(t)
	s.nat.must("nft", "add rule ip lab faults tcp dport { 80, 443 } drop")
	started := time.Now()
	s.server.run(nil)
	s.awaitUp("the server cannot dial", started)
	// The canaries come every 5 s: they have to be carried as well.
	holds(t, "proved by far", 12*time.Second, func() error {
		for name, by := range map[string]string{ownPort: "home", "site": "far", "secure": "far"} {
			if r, ok := s.server.row("home", name); !ok || r.State != up || r.ProvedBy != by {
				return fmt.Errorf("%v, proved by %q", r, r.ProvedBy)
			}
		}
		return nil
	})
	s.pub.must("nft", "add rule ip lab input tcp dport { 80, 443 } drop")
	await(t, "nobody can dial", deadLimit, func() error {
		for _, n := range []*node{s.server, s.far} {
			for _, name := range []string{"site", "secure"} {
				if r, ok := n.row("home", name); !ok || r.State == up || r.Reason == "" {
					return fmt.Errorf("at %s: %v", n.name, r)
				}
			}
		}
		return nil
	})
	r, _ := s.server.row("home", "site")
	t.Logf("closed to all: %v", r)
	if r, _ := s.server.row("home", ownPort); r.State != up {
		t.Errorf("%v, which nothing is in the way of", r)
	}
	opened := time.Now()
	s.pub.must("nft", "flush chain ip lab input")
	s.awaitUp("opened", opened)
}

// awaitUp waits until a stranger reaches both services and all tables have them,
// proved since then.
func (s *sites) awaitUp(what string, since time.Time) {
	s.t.Helper()
	await(s.t, what+": served", backLimit, func() error {
		for _, site := range []struct {
			scheme, domain string
			port           uint16
		}{{"http", siteDomain, 80}, {"https", secureDomain, 443}} {
			if got, err := s.visit(site.scheme, site.domain, site.port); err != nil || got != hello {
				return fmt.Errorf("%s://%s: %q, %w", site.scheme, site.domain, got, err)
			}
		}
		return nil
	})
	served := time.Now()
	await(s.t, what+": listed", backLimit, func() error {
		for _, n := range []*node{s.server, s.proxy} {
			if err := s.listed(n, since); err != nil {
				return err
			}
		}
		return s.listed(s.far, time.Time{}) // who hears of a proof is not told when it was
	})
	if !since.IsZero() {
		s.t.Logf("%s: served after %s, in all tables after %s", what, seconds(served.Sub(since)), seconds(time.Since(since)))
	}
}

// visit fetches a page as a browser that the DNS led to the reverse proxy.
func (s *sites) visit(scheme, domain string, port uint16) (string, error) {
	return s.curl(scheme+"://"+domain+"/", "--cacert", s.cert, "--resolve", fmt.Sprintf("%s:%d:%s", domain, port, pubAddr))
}

// listed says what is wrong with the rows of the two services at the node.
func (s *sites) listed(n *node, since time.Time) error {
	s.t.Helper()
	for _, want := range []row{
		{Name: "site", Type: "HTTP", Domain: siteDomain, BindPort: 80},
		{Name: "secure", Type: "HTTPS", Domain: secureDomain, BindPort: 443},
	} {
		r, ok := n.row("home", want.Name)
		switch {
		case !ok:
			return fmt.Errorf("%s has no row home/%s", n.name, want.Name)
		case r.State != up || r.Reason != "" || r.VerifiedAt.Before(since.Truncate(time.Millisecond)):
			return fmt.Errorf("at %s: %v, proved at %v", n.name, r, r.VerifiedAt)
		case r.Type != want.Type || r.Domain != want.Domain || r.Address != pubAddr || r.BindPort != want.BindPort:
			return fmt.Errorf("at %s: %v is %s %s", n.name, r, r.Type, r.Domain)
		}
	}
	return nil
}
