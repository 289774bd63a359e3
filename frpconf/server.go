package frpconf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Server is an frps.toml: the reverse proxy's end.
type Server struct {
	BindAddr      netip.Addr // where frpc logs in; zero: every IPv4 address
	BindPort      uint16
	ProxyBindAddr netip.Addr // where mappings listen; zero: as BindAddr

	Token Secret
	// With an EC certificate of its own frps is ready in 30 ms; one that makes
	// an RSA key at each start needs 130 (0.61.0-0.70.1). The files are known
	// by name only: a new certificate under the same name is the same Server.
	CertFile, KeyFile string

	Admin             Web
	Gate              Gate
	Allow             []Range // ports that mappings may have
	MaxPortsPerClient int     // 0: the gate alone counts
	// HTTPPort and HTTPSPort are shared by all proxies of that type, which frps
	// tells apart by domain. Zero: it refuses them.
	HTTPPort, HTTPSPort uint16
	// Keepalive bounds how long frps believes in a peer that vanished: this and
	// about 9 s (0.61.0-0.70.1), provided that frpc has the same.
	Keepalive time.Duration
	LogLevel  string // empty: warn
}

// Range is an inclusive range of ports.
type Range struct{ First, Last uint16 }

// Gate is where frps asks p2prc who may log in and open which port. It is
// HTTPS whose certificate frps checks: over plain HTTP any local user who got
// the port while p2prc is down would read credentials and say yes.
type Gate struct {
	Addr netip.AddrPort // loopback; the certificate is for this IP address
	Path Secret         // of the URL
}

type serverFile struct {
	BindAddr      string `toml:"bindAddr,omitempty"`
	BindPort      uint16 `toml:"bindPort"`
	ProxyBindAddr string `toml:"proxyBindAddr,omitempty"`
	// Without it frpc's status says `new proxy [N] error` instead of the reason.
	DetailedErrorsToClient bool            `toml:"detailedErrorsToClient"`
	MaxPortsPerClient      int             `toml:"maxPortsPerClient,omitempty"`
	VhostHTTPPort          uint16          `toml:"vhostHTTPPort,omitempty"`
	VhostHTTPSPort         uint16          `toml:"vhostHTTPSPort,omitempty"`
	AllowPorts             []portsSection  `toml:"allowPorts"`
	Auth                   authSection     `toml:"auth"`
	Log                    logSection      `toml:"log"`
	WebServer              webSection      `toml:"webServer"`
	Transport              serverTransport `toml:"transport"`
	HTTPPlugins            []pluginSection `toml:"httpPlugins"`
}

type serverTransport struct {
	TCPMuxKeepaliveInterval int64     `toml:"tcpMuxKeepaliveInterval"`
	TLS                     serverTLS `toml:"tls"`
}

type serverTLS struct {
	Force    bool   `toml:"force"`
	CertFile string `toml:"certFile"`
	KeyFile  string `toml:"keyFile"`
}

type portsSection struct {
	Start uint16 `toml:"start"`
	End   uint16 `toml:"end"`
}

type pluginSection struct {
	Name      string   `toml:"name"`
	Addr      string   `toml:"addr"`
	Path      string   `toml:"path"`
	Ops       []string `toml:"ops"`
	TLSVerify bool     `toml:"tlsVerify"`
}

// Encode is the text of frps.toml. It holds secrets.
func (s Server) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.Admin.check(); err != nil {
		return nil, err
	}
	file := s.file()
	file.WebServer = s.Admin.section()
	return encode(file)
}

// Fingerprint is the same for two Servers that a running frps need not be
// replaced for. The admin API's place is left out: it is the running frps's own.
func (s Server) Fingerprint() (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	return fingerprint(s.file())
}

// file is the file without the admin API.
func (s Server) file() serverFile {
	f := serverFile{
		BindPort:               s.BindPort,
		DetailedErrorsToClient: true,
		MaxPortsPerClient:      s.MaxPortsPerClient,
		VhostHTTPPort:          s.HTTPPort,
		VhostHTTPSPort:         s.HTTPSPort,
		Auth:                   auth(s.Token),
		Log:                    logs(s.LogLevel),
		Transport: serverTransport{
			TCPMuxKeepaliveInterval: seconds(s.Keepalive),
			TLS:                     serverTLS{Force: true, CertFile: s.CertFile, KeyFile: s.KeyFile},
		},
		HTTPPlugins: []pluginSection{{
			Name:      "p2prc",
			Addr:      "https://" + s.Gate.Addr.String(),
			Path:      string(s.Gate.Path),
			Ops:       []string{"Login", "NewProxy", "CloseProxy"},
			TLSVerify: true,
		}},
	}
	if s.BindAddr.IsValid() {
		f.BindAddr = s.BindAddr.String()
	}
	if s.ProxyBindAddr.IsValid() {
		f.ProxyBindAddr = s.ProxyBindAddr.String()
	}
	for _, r := range s.Allow {
		f.AllowPorts = append(f.AllowPorts, portsSection{r.First, r.Last})
	}
	return f
}

func (s Server) check() error {
	switch {
	case s.BindPort == 0:
		return errors.New("frps has no port to bind")
	case s.Token == "":
		return errors.New("frps has no token") // it would let anyone in
	case s.CertFile == "" || s.KeyFile == "":
		return errors.New("frps has no certificate or no key")
	case s.MaxPortsPerClient < 0:
		return fmt.Errorf("a client of frps may have %d ports", s.MaxPortsPerClient)
	case len(s.Allow) == 0:
		return errors.New("frps has no ports to give") // an empty list allows every port
	}
	used := map[uint16]bool{s.BindPort: true} // frp would serve two things on one port
	for _, port := range []uint16{s.HTTPPort, s.HTTPSPort} {
		if port != 0 && used[port] {
			return fmt.Errorf("frps is to use port %d twice", port)
		}
		used[port] = true
	}
	for _, r := range s.Allow {
		if r.First == 0 || r.Last < r.First { // frps would allow nothing and not say so
			return fmt.Errorf("port range %d-%d is none", r.First, r.Last)
		}
	}
	if err := checkTexts(
		text{"frps's token", string(s.Token)},
		text{"the name of frps's certificate", s.CertFile},
		text{"the name of frps's key", s.KeyFile},
	); err != nil {
		return err
	}
	if err := checkKeepalive(s.Keepalive); err != nil {
		return err
	}
	if err := checkLogLevel(s.LogLevel); err != nil {
		return err
	}
	return s.Gate.check()
}

func (g Gate) check() error {
	if !g.Addr.Addr().IsLoopback() || g.Addr.Port() == 0 {
		return fmt.Errorf("the gate's address is %v, not a port on loopback", g.Addr)
	}
	path := string(g.Path)
	if len(path) < 2 || path[0] != '/' || strings.Trim(path[1:], lower+upper+digits+"-_/") != "" {
		return errors.New("the gate's path is not / and then letters, digits, - and _")
	}
	return nil
}
