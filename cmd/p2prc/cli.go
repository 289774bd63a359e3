package main

import (
	"cmp"

	"github.com/alecthomas/kong"

	"p2prc/tables/identity"
)

// CLI is the grammar: flags that belong to every command, and the command that
// is meant when none is named. The latter stands from day one, because flags
// without a verb stop parsing once a grammar has verbs and no default.
//
// Two tags are p2prc's own: `with` names the flags of which a flag needs one
// (check.go), and `values` what a flag takes where kong's enum cannot say it.
type CLI struct {
	StateDir         string   `placeholder:"DIR" group:"common" help:"Keep keys and tables in DIR. Default: $$P2PRC, as root /var/lib/p2prc, else $$XDG_STATE_HOME/p2prc."`
	Name             nodeName `placeholder:"NAME" group:"common" help:"Call this node NAME. Default: the host's name. In a list: show only names like NAME, which may have * and ?."`
	Token            token    `xor:"token" placeholder:"T" group:"common" help:"Admit nodes by this token, or join with it. In $$P2PRC_TOKEN or a file it is safer."`
	TokenFile        string   `xor:"token" placeholder:"FILE" group:"common" help:"Read the token from FILE."`
	FRPS             string   `name:"frps" default:"frps" placeholder:"PATH" group:"common" help:"Run this frps. Default: frps in $$PATH."`
	FRPC             string   `name:"frpc" default:"frpc" placeholder:"PATH" group:"common" help:"Run this frpc. Default: frpc in $$PATH."`
	LogLevel         string   `default:"warn" enum:"debug,info,warn,error" placeholder:"LEVEL" group:"common" help:"Log debug, info, warn (default) or error and worse."`
	Config           string   `placeholder:"FILE" group:"common" help:"Read flags from this TOML file."`
	Version          bool     `xor:"action" group:"common" help:"Print the version of p2prc and of its frps and frpc."`
	PrivateAddresses bool     `group:"common" help:"Dial addresses that other nodes name even if they are not public: for labs and closed networks."`
	Completion       shell    `xor:"action" values:"bash,zsh,fish" placeholder:"SHELL" group:"common" help:"Print the completions for bash, zsh or fish."`
	Man              bool     `xor:"action" group:"common" help:"Print the man page, p2prc.1."`
	Help             helpFlag `short:"h" group:"common" help:"Print this help."`
	Flags            command  `cmd:"" default:"withargs" hidden:""`

	Map    mapVerb    `cmd:"" help:"Map more services and print what to dial once it is proved. SPEC is as in --map, or a range: 6000-6010, 8000-8004:21000-21004."`
	Unmap  unmapVerb  `cmd:"" help:"Drop mappings of p2prc map, by name, domain, port or range of ports."`
	Wait   waitVerb   `cmd:"" help:"Wait until mappings are up, or down."`
	Status statusVerb `cmd:"" help:"Show the node, frp, the mappings; trouble first."`
	Logs   logsVerb   `cmd:"" help:"Print what frpc or frps wrote."`
	Reload reloadVerb `cmd:"" help:"Read mappings.toml again, as SIGHUP does."`
	Leave  leaveVerb  `cmd:"" help:"End p2prc while its tunnels stay up, as SIGUSR2 does."`

	named    string            `kong:"-"` // the verb, if any
	settings *settings         `kong:"-"`
	app      *kong.Application `kong:"-"` // this grammar, as kong read it
}

// command is what p2prc does without a verb.
type command struct {
	Server              bool       `short:"s" xor:"action" group:"run" help:"Run a node in one of two roles:"`
	ReverseProxy        bool       `xor:"role" with:"server" group:"run" help:"Lend this host's public ports to hosts behind NAT."`
	ConnectReverseProxy []upstream `xor:"role" with:"server" placeholder:"HOST" group:"run" help:"Be reachable through the reverse proxy at HOST, HOST:PORT or 'p2prc://HOST:PORT#PIN/TOKEN', or through the best that is known: auto. Repeatable: the second stands by for the first."`
	Map                 []mapSpec  `with:"connect-reverse-proxy" placeholder:"SPEC" group:"run" help:"Map this service too: 22, 8080:22000 (local:remote), 192.168.1.9:22, 5353/udp, web=3000, by domain app.example.org=3000/http or /https. Repeatable."`
	NoWait              bool       `with:"connect-reverse-proxy" group:"run" help:"Fail instead of waiting until it works."`
	Listen              listen     `with:"reverse-proxy,connect-reverse-proxy" placeholder:"ADDR:PORT" group:"run" help:"Bind the node's own port here. Default: :8088, a server picks one."`
	PublicAddress       ipv4       `with:"reverse-proxy" placeholder:"IP" group:"run" help:"Tell others to reach this host at IP."`
	FRPPort             port       `name:"frp-port" with:"reverse-proxy" default:"7000" placeholder:"N" group:"run" help:"Let frpc log in on this port. Default: 7000."`
	Ports               pool       `with:"reverse-proxy" default:"20000-29999" placeholder:"FIRST-LAST" group:"run" help:"Lend these ports. Default: 20000-29999."`
	HTTPPort            port       `name:"http-port" with:"reverse-proxy" placeholder:"N" group:"run" help:"Lend domains too: on this port http is told apart by them. Usually 80."`
	HTTPSPort           port       `name:"https-port" with:"reverse-proxy" placeholder:"N" group:"run" help:"The same for https, whose TLS is passed on as it is. Usually 443."`
	Open                bool       `with:"reverse-proxy" group:"run" help:"Lend ports to anyone, a few to each."`
	MaxPortsPerNode     int        `with:"reverse-proxy" placeholder:"N" group:"run" help:"Lend at most N ports to a node. Default: 1024, with --open 16."`

	Join      []seed `with:"reverse-proxy" placeholder:"HOST" group:"run" help:"Join the mesh of the reverse proxy at HOST or HOST:PORT. Repeatable; once in, a restart needs none."`
	MeshToken token  `with:"reverse-proxy" placeholder:"T" group:"run" help:"Be in a private mesh: only who knows the token gets in."`

	ViewRPS bool `name:"view-rps" aliases:"view-reverse-proxy-servers" xor:"action" group:"view" help:"List known reverse proxies (--view-reverse-proxy-servers)."`
	ViewRPM bool `name:"view-rpm" aliases:"view-reverse-proxy-mapping" xor:"action" group:"view" help:"List known mappings (--view-reverse-proxy-mapping)."`

	ListServers bool `aliases:"ls" xor:"action" group:"view" help:"List the IP table: every node that can be dialled, servers behind NAT at their proxy's address (--ls)."`
	Refresh     bool `with:"view-rps" group:"view" help:"Dial every known reverse proxy first."`

	AddServer        seed `aliases:"as" xor:"action" placeholder:"HOST" group:"peers" help:"Get to know the node at HOST or HOST:PORT, and what it knows (--as)."`
	UpdateServerList bool `aliases:"us" xor:"action" group:"peers" help:"Ask the nodes that are known what there is now (--us)."`

	JSON      bool       `name:"json" xor:"output" with:"view-rps,view-rpm,list-servers,map-port" group:"view" help:"Print the rows as JSON (--output json)."`
	Output    outputForm `short:"o" xor:"output" values:"table,wide,json" with:"view-rps,view-rpm,list-servers" placeholder:"FORM" group:"view" help:"Print a table (default), a wide one with more columns, or json."`
	NoHeaders bool       `with:"view-rps,view-rpm,list-servers" group:"view" help:"Leave out the line with the column names."`
	State     []rowState `with:"view-rps,view-rpm,list-servers" enum:"up,standby,down,waiting" placeholder:"STATE" group:"view" help:"Show only rows in this state: up, standby (which is up too), down or waiting. Repeatable."`
	Watch     bool       `short:"w" with:"view-rps,view-rpm" group:"view" help:"Go on, and show what changes: on a terminal the table, on a pipe each row that changed, as JSON the whole list on one line. Ctrl-C ends."`

	MapPort port `name:"map-port" aliases:"mp" xor:"action" placeholder:"PORT" group:"live" help:"Map this port, as P2PRC spells it (--mp): p2prc map PORT."`
	UDP     bool `name:"udp" with:"map-port" group:"live" help:"Map UDP."`

	Domain domain `name:"domain-name" aliases:"dn" with:"map-port" placeholder:"DOMAIN" group:"live" help:"Map this domain, http (--dn)."`

	Allow       nodeID `xor:"action" placeholder:"ID" group:"admit" help:"Admit the node with this ID."`
	Revoke      nodeID `xor:"action" placeholder:"ID" group:"admit" help:"Shut out the node with this ID."`
	RevokeToken bool   `xor:"action" group:"admit" help:"Make a new token. Nodes already admitted stay."`
	JoinString  bool   `xor:"action" group:"admit" help:"Print what a server needs to join."`
}

// BeforeResolve is called by kong when it has read the command line: the rest
// comes from the environment and the config file.
func (c *CLI) BeforeResolve(k *kong.Context) error {
	s := c.settings
	getenv := func(key string) string { value, _ := s.lookup(key); return value }
	path, asked := c.configPath(k)
	if !asked {
		path = cmp.Or(getenv("P2PRC_CONFIG"), findConfig(getenv, s.root))
		asked = getenv("P2PRC_CONFIG") != ""
	}
	s.confPath = path
	if path != "" {
		file, err := readConfig(path, asked, k.Model)
		if err != nil {
			return err
		}
		s.file = file
	}
	k.AddResolver(s)
	return nil
}

// configPath is --config: kong has read its value and not yet stored it.
func (c *CLI) configPath(k *kong.Context) (path string, given bool) {
	for _, p := range k.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			return k.FlagValue(p.Flag).(string), true
		}
	}
	return "", false
}

// BeforeApply is called by kong when every value was read.
func (c *CLI) BeforeApply() error {
	c.settings.last = ""
	return nil
}

// listenPort is where a reverse proxy listens.
func (f *command) listenPort() uint16 {
	if !f.Listen.set {
		return identity.DefaultPort
	}
	return f.Listen.port
}
