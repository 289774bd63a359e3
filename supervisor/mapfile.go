package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"p2prc/tables"
)

// mapFileName is the file in which a user declares mappings, in the state
// directory or beside the config file:
//
//	[[mapping]]
//	name = "web"
//	local = "127.0.0.1:3000" # or 3000
//	remote = 22000           # left out: the reverse proxy picks
//	protocol = "udp"         # left out: tcp
//
//	[[mapping]]
//	domain = "app.example.org" # instead of remote
//	local = 3000
//	protocol = "https"         # left out: http
const mapFileName = "mappings.toml"

// mapFile is the file as go-toml reads it. The values are looked at by hand:
// what is wrong with one is told with its place.
type mapFile struct {
	Mapping []mapEntry `toml:"mapping"`
}

type mapEntry struct {
	Name     any `toml:"name"`
	Local    any `toml:"local"`
	Remote   any `toml:"remote"`
	Protocol any `toml:"protocol"`
	Domain   any `toml:"domain"`
}

// readMapFiles reads the one of the files that is there; none is no mapping.
func readMapFiles(paths []string) ([]Map, error) {
	var found string
	var maps []Map
	for _, path := range paths {
		data, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fail(StateUnusable, "", "reading the mappings: %w", err)
		case found != "":
			return nil, fail(BadUsage, "put all mappings into one of them", "there is %s and %s", found, path)
		}
		found = path
		if maps, err = parseMapFile(data); err != nil {
			return nil, fail(BadUsage, "correct the file, then try again", "%s:%w", path, err)
		}
	}
	return maps, nil
}

// parseMapFile's errors begin with the line and the column.
func parseMapFile(data []byte) ([]Map, error) {
	var file mapFile
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&file)
	var (
		unknown *toml.StrictMissingError
		broken  *toml.DecodeError
	)
	switch {
	case errors.As(err, &unknown):
		first := unknown.Errors[0]
		line, column := first.Position()
		return nil, fmt.Errorf("%d:%d: unknown key %q", line, column, strings.Join(first.Key(), "."))
	case errors.As(err, &broken):
		line, column := broken.Position()
		return nil, fmt.Errorf("%d:%d: %s", line, column, strings.TrimPrefix(broken.Error(), "toml: "))
	case err != nil:
		return nil, fmt.Errorf("1:1: %w", err)
	}
	maps := make([]Map, len(file.Mapping))
	seen := make(map[string]bool)
	for i, e := range file.Mapping {
		key, err := e.read(&maps[i])
		if err == nil && seen[maps[i].Name] {
			key, err = "name", fmt.Errorf("two mappings have the name %q", maps[i].Name)
		}
		if err != nil {
			line, column := placeInMapFile(data, i, key)
			return nil, fmt.Errorf("%d:%d: %s: %w", line, column, key, err)
		}
		seen[maps[i].Name] = true
	}
	return maps, nil
}

// read takes one entry over; key is the one that is wrong.
func (e mapEntry) read(m *Map) (key string, err error) {
	m.Type = tables.TCP
	if e.Domain != nil {
		m.Domain, m.Type = fmt.Sprint(e.Domain), tables.HTTP
	}
	if e.Protocol != nil {
		if m.Type = tables.Protocol(strings.ToUpper(fmt.Sprint(e.Protocol))); !m.Type.Known() {
			return "protocol", fmt.Errorf("%q is not a protocol: tcp, udp, http and https are", fmt.Sprint(e.Protocol))
		}
	}
	if m.Local, err = localOf(e.Local); err != nil {
		return "local", err
	}
	if e.Remote != nil {
		if m.Remote, err = tables.ParsePort(fmt.Sprint(e.Remote)); err != nil {
			return "remote", err
		}
	}
	if err := m.CheckDomain(); err != nil {
		return "domain", err
	}
	if e.Name == nil {
		m.Name = m.DefaultName()
		return "name", checkMapName(m.Name) // that of a long domain is too long
	}
	m.Name = fmt.Sprint(e.Name)
	return "name", checkMapName(m.Name)
}

// localOf reads HOST:PORT, or a PORT of this host.
func localOf(value any) (netip.AddrPort, error) {
	text := fmt.Sprint(value)
	if value == nil {
		return netip.AddrPort{}, errors.New("it is missing: write 3000 or \"192.168.1.9:22\"")
	}
	host, port, ok := strings.Cut(text, ":")
	addr := loopback
	if !ok {
		port = host
	} else if host != "localhost" {
		var err error
		if addr, err = netip.ParseAddr(host); err != nil || !addr.Is4() || addr.IsUnspecified() || addr.IsMulticast() {
			return netip.AddrPort{}, fmt.Errorf("%q is not the IPv4 address of a host", host)
		}
	}
	n, err := tables.ParsePort(port)
	return netip.AddrPortFrom(addr, n), err
}

// DefaultName is that of a mapping to which its user gave none. It is stable,
// so that the same mapping keeps its port.
func (m Map) DefaultName() string {
	if m.Domain != "" {
		return m.Type.FRP() + "-" + strings.ReplaceAll(m.Domain, ".", "-")
	}
	port := strconv.Itoa(int(m.Local.Port()))
	if m.Local.Addr() == loopback {
		return m.Type.FRP() + "-" + port
	}
	return m.Type.FRP() + "-" + strings.ReplaceAll(m.Local.Addr().String(), ".", "-") + "-" + port
}

// placeInMapFile finds a key of the i-th mapping, or its header where the key
// is missing. The file was decoded before, so it is well-formed.
func placeInMapFile(data []byte, i int, key string) (line, column int) {
	var p unstable.Parser
	p.Reset(data)
	line, column = 1, 1
	at := -1
	for p.NextExpression() {
		e := p.Expression()
		keys := e.Key()
		if !keys.Next() {
			continue
		}
		first := keys.Node()
		start := p.Shape(first.Raw).Start
		switch {
		case e.Kind == unstable.ArrayTable:
			at++
			if at == i {
				line, column = start.Line, start.Column
			}
		case e.Kind == unstable.KeyValue && at == i && string(first.Data) == key:
			return start.Line, start.Column
		}
	}
	return line, column
}

// reload takes mappings.toml over as it is now: what is gone is unmapped, what
// is new is mapped, the rest is not touched. A bad file changes nothing.
func (s *server) reload() (ReloadReply, error) {
	file, err := readMapFiles(s.o.MapFiles)
	if f, ok := errors.AsType[*Failure](err); ok && f.Hint != "" {
		f.Hint = "nothing was changed; " + f.Hint
	}
	if err != nil {
		return ReloadReply{}, err
	}
	s.mappings.mu.Lock()
	old := s.file
	if err := s.takeFile(file); err != nil {
		s.mappings.mu.Unlock()
		return ReloadReply{}, fail(BadUsage, "nothing was changed; give one of them another name", "%w", err)
	}
	version := s.version
	s.mappings.mu.Unlock()
	s.pokeAll()
	reply := ReloadReply{version: version}
	was := make(map[Map]bool, len(old))
	for _, m := range old {
		was[m] = true
	}
	for _, m := range file {
		if was[m] {
			reply.Same++
			delete(was, m)
		} else {
			reply.Added = append(reply.Added, m.Name)
		}
	}
	for _, m := range old {
		if was[m] {
			reply.Dropped = append(reply.Dropped, m.Name)
		}
	}
	return reply, nil
}

// ReloadReply is what a reload has changed. One that leads elsewhere now is
// both dropped and added.
type ReloadReply struct {
	Added   []string `json:"added"`
	Dropped []string `json:"dropped"`
	Same    int      `json:"same"`

	version uint64
}
