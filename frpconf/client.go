package frpconf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Client is an frpc.toml: the server's end.
type Client struct {
	ServerAddr string // IP address or name of the reverse proxy; frpc resolves it at every login
	ServerPort uint16
	Token      Secret
	// TrustedCAFile is the certificate that frps must show, ServerName the name
	// in it. frpc compares the address when there is no ServerName, and refuses
	// (0.65.0, 0.70.1). The file is known by name only: a new certificate under
	// the same name is the same Client.
	TrustedCAFile string
	ServerName    string
	Metadatas     map[string]Secret // sent at login, for the gate only
	Keepalive     time.Duration     // as Server.Keepalive
	Admin         Web
	LogLevel      string // empty: warn
	Proxies       []Proxy
}

// Proxy is one mapping: a port or domain of the reverse proxy and the local
// service that it leads to.
type Proxy struct {
	Name       string // see ProxyName
	Type       string // tcp, udp, http or https
	Local      netip.AddrPort
	RemotePort uint16 // of tcp and udp
	Domain     string // of http and https
	// Metadatas are sent with the proxy. A changed value and a reload make frpc
	// try a refused one again in 2-5 ms; by itself it waits 30 s (0.61.0-0.70.1).
	Metadatas map[string]string
}

type clientFile struct {
	ServerAddr string `toml:"serverAddr"`
	ServerPort uint16 `toml:"serverPort"`
	// A refused first login ends frpc, so that p2prc can say why. Later ones it
	// retries by itself.
	LoginFailExit bool              `toml:"loginFailExit"`
	Metadatas     map[string]string `toml:"metadatas,omitempty"`
	Auth          authSection       `toml:"auth"`
	Log           logSection        `toml:"log"`
	WebServer     webSection        `toml:"webServer"`
	Transport     clientTransport   `toml:"transport"`
	Proxies       []proxySection    `toml:"proxies,omitempty"`
}

type clientTransport struct {
	// ProxyURL "none" keeps frpc from reading the environment's http_proxy,
	// which would redirect its connection, no_proxy or not (0.52-0.70.1).
	ProxyURL                string    `toml:"proxyURL"`
	TCPMuxKeepaliveInterval int64     `toml:"tcpMuxKeepaliveInterval"`
	TLS                     clientTLS `toml:"tls"`
}

type clientTLS struct {
	Enable        bool   `toml:"enable"`
	TrustedCaFile string `toml:"trustedCaFile"`
	ServerName    string `toml:"serverName"`
}

type proxySection struct {
	Name       string            `toml:"name"`
	Type       string            `toml:"type"`
	LocalIP    string            `toml:"localIP"`
	LocalPort  uint16            `toml:"localPort"`
	RemotePort uint16            `toml:"remotePort,omitempty"`
	Domains    []string          `toml:"customDomains,omitempty"`
	Metadatas  map[string]string `toml:"metadatas,omitempty"`
}

// Encode is the text of frpc.toml, its proxies in the order of their names. It
// holds secrets.
func (c Client) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := c.Admin.check(); err != nil {
		return nil, err
	}
	file := c.file()
	file.WebServer = c.Admin.section()
	file.Proxies = c.proxies()
	return encodeClient(file)
}

// Fingerprint tells the two parts of a Client apart. A running frpc with the
// same common part takes other mappings by a reload; another common part it
// ignores until it is replaced (0.61.0-0.70.1). The admin API's place is in
// neither: it is the running frpc's own.
func (c Client) Fingerprint() (common, mappings string, err error) {
	if err := c.check(); err != nil {
		return "", "", err
	}
	if common, err = fingerprint(c.file()); err != nil {
		return "", "", err
	}
	mappings, err = fingerprint(c.proxies())
	return common, mappings, err
}

// file is the file without the admin API and the proxies.
func (c Client) file() clientFile {
	f := clientFile{
		ServerAddr:    c.ServerAddr,
		ServerPort:    c.ServerPort,
		LoginFailExit: true,
		Metadatas:     make(map[string]string, len(c.Metadatas)),
		Auth:          auth(c.Token),
		Log:           logs(c.LogLevel),
		Transport: clientTransport{
			ProxyURL:                "none",
			TCPMuxKeepaliveInterval: seconds(c.Keepalive),
			TLS:                     clientTLS{Enable: true, TrustedCaFile: c.TrustedCAFile, ServerName: c.ServerName},
		},
	}
	for k, v := range c.Metadatas {
		f.Metadatas[k] = string(v)
	}
	return f
}

func (c Client) proxies() []proxySection {
	sections := make([]proxySection, 0, len(c.Proxies))
	for _, p := range c.Proxies {
		s := proxySection{
			Name:       p.Name,
			Type:       p.Type,
			LocalIP:    p.Local.Addr().String(),
			LocalPort:  p.Local.Port(),
			RemotePort: p.RemotePort,
			Metadatas:  p.Metadatas,
		}
		if p.Domain != "" {
			s.Domains = []string{p.Domain}
		}
		sections = append(sections, s)
	}
	slices.SortFunc(sections, func(a, b proxySection) int { return strings.Compare(a.Name, b.Name) })
	return sections
}

func (c Client) check() error {
	switch {
	case !isHost(c.ServerAddr):
		return fmt.Errorf("%q is not the address of a reverse proxy", c.ServerAddr)
	case c.ServerPort == 0:
		return errors.New("frpc has no port to log in at")
	case c.Token == "":
		return errors.New("frpc has no token")
	case c.TrustedCAFile == "":
		return errors.New("frpc has no certificate to check frps by")
	case !isHost(c.ServerName):
		return fmt.Errorf("%q is not a name in a certificate", c.ServerName)
	}
	if err := checkTexts(
		text{"frpc's token", string(c.Token)},
		text{"the name of frps's certificate", c.TrustedCAFile},
	); err != nil {
		return err
	}
	size := 0
	for k, v := range c.Metadatas {
		size += len(k) + len(v)
		if err := checkMeta(k, string(v)); err != nil {
			return fmt.Errorf("login: %w", err)
		}
	}
	if size > maxMessage {
		return fmt.Errorf("login: %d bytes of metadata, at most %d are allowed", size, maxMessage)
	}
	if err := checkKeepalive(c.Keepalive); err != nil {
		return err
	}
	if err := checkLogLevel(c.LogLevel); err != nil {
		return err
	}
	return c.checkProxies()
}

func (c Client) checkProxies() error {
	type port struct {
		proto  string
		port   uint16
		domain string
	}
	names := make(map[string]bool, len(c.Proxies))
	ports := make(map[port]string, len(c.Proxies))
	for _, p := range c.Proxies {
		if err := p.check(); err != nil {
			return err
		}
		// Up to 0.69 frpc takes the last of two proxies of one name in silence.
		if names[p.Name] {
			return fmt.Errorf("proxy %s is there twice", p.Name)
		}
		names[p.Name] = true
		at := port{p.Type, p.RemotePort, p.Domain}
		if other, taken := ports[at]; taken && p.byName() {
			return fmt.Errorf("proxies %s and %s both want %s domain %s", other, p.Name, p.Type, p.Domain)
		} else if taken {
			return fmt.Errorf("proxies %s and %s both want %s port %d", other, p.Name, p.Type, p.RemotePort)
		}
		ports[at] = p.Name
	}
	return nil
}

// byName reports whether frps finds the proxy by its domain.
func (p Proxy) byName() bool { return p.Type == "http" || p.Type == "https" }

func (p Proxy) check() error {
	switch {
	case !isName(p.Name):
		return fmt.Errorf("%q is not the name of a proxy: only letters, digits, ., _ and - are allowed", p.Name)
	case p.Type != "tcp" && p.Type != "udp" && !p.byName():
		return fmt.Errorf("proxy %s: type %q is not tcp, udp, http or https", p.Name, p.Type)
	case !p.Local.IsValid() || p.Local.Port() == 0:
		return fmt.Errorf("proxy %s: %v is not the address of a service", p.Name, p.Local)
	case p.byName() && (p.RemotePort != 0 || !isDomain(p.Domain)):
		return fmt.Errorf("proxy %s: %q is not a domain, or there is a port besides", p.Name, p.Domain)
	case !p.byName() && p.Domain != "":
		return fmt.Errorf("proxy %s: a proxy of type %s has no domain", p.Name, p.Type)
	case !p.byName() && p.RemotePort == 0: // frps would pick one, another at each of its starts
		return fmt.Errorf("proxy %s has no remote port", p.Name)
	}
	size := len(p.Name) + len(p.Domain)
	for k, v := range p.Metadatas {
		size += len(k) + len(v)
		if err := checkMeta(k, v); err != nil {
			return fmt.Errorf("proxy %s: %w", p.Name, err)
		}
	}
	if size > maxMessage {
		return fmt.Errorf("proxy %s: %d bytes of name and metadata, at most %d are allowed", p.Name, size, maxMessage)
	}
	return nil
}
