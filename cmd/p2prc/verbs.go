package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"p2prc/supervisor"
	"p2prc/tables"
)

// The verbs speak to the p2prc that runs in the state directory.
type (
	mapVerb struct {
		Specs   []string `arg:"" optional:"" name:"spec" help:"22, 8080:22000 (local:remote), 192.168.1.9:22, 5353/udp, web=3000, 6000-6010, 8000-8004:21000-21004, app.example.org=3000, app.example.org=3443/https."`
		UDP     bool     `name:"udp" group:"live" help:"Map UDP where a SPEC does not say."`
		Remote  port     `name:"remote-port" placeholder:"N" group:"live" help:"Ask for this port of the reverse proxy, or fail with 7."`
		Domain  domain   `name:"domain-name" aliases:"dn" placeholder:"DOMAIN" group:"live" help:"Map this domain, as in app.example.org=3000 (--dn)."`
		JSON    bool     `name:"json" group:"live" help:"Print one JSON object for each mapping."`
		Partial bool     `group:"live" help:"Keep what works where not all of it does."`
		Timeout span     `default:"60s" placeholder:"TIME" group:"live" help:"Wait so long for the proof. Default: 60s."`
	}
	unmapVerb struct {
		Names []string `arg:"" optional:"" name:"name" help:"A name, a domain, a port, a range of ports."`
		All   bool     `group:"live" help:"Drop every mapping that p2prc map has made."`
	}
	waitVerb struct {
		Names   []string `arg:"" optional:"" name:"name" help:"The names of mappings."`
		All     bool     `group:"live" help:"Wait for every mapping."`
		For     string   `default:"up" enum:"up,down" placeholder:"STATE" group:"live" help:"Wait until they are up (default) or down."`
		JSON    bool     `name:"json" group:"live" help:"Print one JSON object for each mapping."`
		Timeout span     `default:"60s" placeholder:"TIME" group:"live" help:"Give up after so long, with 12. Default: 60s."`
	}
	statusVerb struct {
		JSON  bool `name:"json" group:"live" help:"Print it as JSON, one object a line."`
		Watch bool `group:"live" help:"Print it again whenever it changes."`
	}
	logsVerb struct {
		Which  string `arg:"" optional:"" name:"child" placeholder:"frpc|frps" help:"Of which child. Default: the one there is."`
		Follow bool   `short:"f" group:"live" help:"Go on with what is written from now on."`
	}
	reloadVerb struct{}
	leaveVerb  struct{}
)

// verb is the one that was named, empty for the forms with flags alone.
func (c *CLI) verb(k *kong.Context) string {
	if node := k.Selected(); node != nil && !node.Hidden {
		return node.Name
	}
	return ""
}

// checkVerb looks at what kong does not.
func (c *CLI) checkVerb() error {
	switch c.named {
	case "map":
		if len(c.Map.Specs) == 0 {
			return usage(mapHint, "map needs a SPEC")
		}
		_, err := c.mapSpecs()
		return err
	case "logs":
		if !slices.Contains([]string{"", "frpc", "frps"}, c.Logs.Which) {
			return usage("p2prc logs frpc, or frps", "there are no logs of %q", c.Logs.Which)
		}
	case "unmap":
		return namesOrAll("unmap", c.Unmap.Names, c.Unmap.All)
	case "wait":
		return namesOrAll("wait", c.Wait.Names, c.Wait.All)
	}
	return nil
}

func namesOrAll(verb string, names []string, all bool) error {
	switch {
	case len(names) == 0 && !all:
		return usage("p2prc "+verb+" NAME, or --all", "%s what?", verb)
	case len(names) > 0 && all:
		return usage("leave one of them out", "names and --all do not go together")
	}
	for _, name := range names {
		base, _, _ := strings.Cut(name, "/")
		if err := tables.CheckName(base); err != nil && (verb != "unmap" || tables.CheckDomain(name) != nil) {
			return usage("p2prc status lists the names", "%w", err)
		}
	}
	return nil
}

// mapSpecs is what `p2prc map` is to map.
func (c *CLI) mapSpecs() ([]supervisor.MapSpec, error) {
	v := &c.Map
	name := ""
	if c.settings.source["name"] == fromCommandLine { // else it is that of the node
		name = string(c.Name)
	}
	var maps []supervisor.MapSpec
	if v.Domain != "" && len(v.Specs) > 1 {
		return nil, usage("write "+string(v.Domain)+"=SPEC for it", "--domain-name is for one mapping, and these are %d", len(v.Specs))
	}
	for _, spec := range v.Specs {
		if v.Domain != "" {
			spec = string(v.Domain) + "=" + spec
		}
		if v.UDP && !strings.Contains(spec, "/") {
			spec += "/udp"
		}
		got, err := parseMaps(spec)
		if err != nil {
			return nil, usage(mapHint, "%q: %w", spec, err)
		}
		maps = append(maps, got...)
	}
	if name != "" {
		if err := tables.CheckName(name); err != nil {
			return nil, usage("write a name such as web", "--name: %w", err)
		}
		if len(maps) > 1 {
			return nil, usage("write NAME=SPEC for each", "--name is for one mapping, and these are %d", len(maps))
		}
		maps[0].Name, maps[0].Named = name, true
	}
	if v.Remote != 0 {
		if len(maps) > 1 || maps[0].Remote != 0 {
			return nil, usage("write LOCAL:REMOTE for each", "--remote-port is for one mapping that has none yet")
		}
		maps[0].Remote = uint16(v.Remote)
	}
	if len(maps) > maxMaps {
		return nil, usage("", "%d mappings are more than there are ports in a usual pool", len(maps))
	}
	plain := make([]mapSpec, len(maps))
	for i, m := range maps {
		plain[i] = mapSpec(m.Map)
	}
	return maps, checkMaps("SPEC", plain)
}

const (
	maxMaps    = 16384 // in one call
	mapTimeout = span(time.Minute)
)

// speak runs the verb against the p2prc of the state directory.
func (c *CLI) speak(ctx context.Context, say *printer, dir string) error {
	switch c.named {
	case "map":
		maps, err := c.mapSpecs()
		if err != nil {
			return err
		}
		req := supervisor.MapRequest{Maps: maps, Partial: c.Map.Partial, Timeout: time.Duration(c.Map.Timeout), Waits: say.waiting}
		return supervisor.MapLive(ctx, dir, req, func(row supervisor.LiveRow) error { return say.address(row, c.Map.JSON) })
	case "unmap":
		return c.unmap(ctx, say, dir)
	case "wait":
		req := supervisor.WaitRequest{Names: c.Wait.Names, All: c.Wait.All, Down: c.Wait.For == "down", Timeout: time.Duration(c.Wait.Timeout), Waits: say.waiting}
		return supervisor.WaitLive(ctx, dir, req, func(row supervisor.LiveRow) error {
			if req.Down && !c.Wait.JSON {
				return nil
			}
			return say.address(row, c.Wait.JSON)
		})
	case "status":
		show := func(st supervisor.Status) error { return say.status(st, c.Status.JSON, c.Status.Watch) }
		if c.Status.Watch {
			err := supervisor.WatchLive(ctx, dir, show)
			if ctx.Err() != nil { // as every --watch ends
				return nil
			}
			return err
		}
		st, err := supervisor.StatusLive(ctx, dir)
		if err != nil {
			return err
		}
		return show(st)
	case "logs":
		return c.logs(ctx, say, dir)
	case "reload":
		got, err := supervisor.ReloadLive(ctx, dir)
		if err != nil {
			return err
		}
		say.reloaded(got)
		return nil
	case "leave":
		if err := supervisor.LeaveLive(ctx, dir); err != nil {
			return err
		}
		say.note("p2prc leaves, the tunnels stay up")
		return nil
	}
	return errors.New("a verb that nobody wrote")
}

func (c *CLI) unmap(ctx context.Context, say *printer, dir string) error {
	got, err := supervisor.UnmapLive(ctx, dir, supervisor.UnmapRequest{Names: c.Unmap.Names, All: c.Unmap.All})
	if err != nil {
		return err
	}
	say.note("%d unmapped", len(got.Dropped))
	if len(got.Kept) > 0 {
		say.note("%d of --map or mappings.toml stay: %s", len(got.Kept), someOf(got.Kept))
	}
	if !got.Done {
		say.note("the reverse proxy does not answer: it takes their ports back by itself within 10 minutes")
	}
	return nil
}

// someOf names a few.
func someOf(names []string) string {
	const few = 5
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

// mappedJSON is one mapping under --json. The first three keys are P2PRC's.
type mappedJSON struct {
	IPAddress     string          `json:"IPAddress"`
	PortNo        string          `json:"PortNo"`
	EntireAddress string          `json:"EntireAddress"`
	Name          string          `json:"name"`
	Type          tables.Protocol `json:"type"`
	LocalAddress  string          `json:"local_address"`
	State         tables.State    `json:"state"`
	Reason        string          `json:"reason"`
	ProvedBy      string          `json:"proved_by"`
	VerifiedAt    time.Time       `json:"verified_at,omitzero"`
	Domain        string          `json:"domain,omitempty"`
}

// address prints the one thing that was asked for: what to dial.
func (p *printer) address(row supervisor.LiveRow, asJSON bool) error {
	if !asJSON {
		return p.print(row.Dial())
	}
	b, err := json.Marshal(mappedJSON{
		IPAddress: row.Address.String(), PortNo: fmt.Sprint(row.BindPort), EntireAddress: row.Dial(),
		Name: row.Name, Type: row.Type, LocalAddress: row.LocalAddress.String(), State: row.State, Reason: row.Reason,
		ProvedBy: row.ProvedBy, VerifiedAt: row.VerifiedAt, Domain: row.Domain,
	})
	if err != nil {
		return fmt.Errorf("writing a row: %w", err)
	}
	_, err = p.out.Write(append(b, '\n'))
	return written(err)
}

// waiting says why nothing is printed yet.
func (p *printer) waiting(w supervisor.Waiting) {
	for _, why := range w.Reasons {
		p.note("waiting: %s", why)
	}
	if w.More > 0 {
		p.note("waiting: and %d more", w.More)
	}
}

func (p *printer) reloaded(got supervisor.ReloadReply) {
	p.note("mappings.toml: %d added, %d dropped, %d unchanged", len(got.Added), len(got.Dropped), got.Same)
}

// orDash keeps a column where it is.
func orDash(s string) string { return cmp.Or(s, "-") }
