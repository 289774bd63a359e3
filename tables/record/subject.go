package record

import (
	"fmt"
	"strings"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// Subject is what one record of an owner is about. What stands in it is not
// repeated below: it cannot contradict itself.
type Subject string

// The subjects that an owner has once.
const (
	SubjectProxy     Subject = "proxy"
	SubjectHeartbeat Subject = "heartbeat"
	Everything       Subject = "*" // all that its owner said before
)

// Tunnel names a mapping, whoever speaks about it.
type Tunnel struct {
	Node  identity.ID
	Proxy identity.ID
	Name  string
}

// ClaimSubject is what the tunnel's node claims it under.
func (t Tunnel) ClaimSubject() Subject {
	return Subject("claim/" + string(t.Proxy) + "/" + t.Name)
}

// DownSubject is what the tunnel's node and proxy call it down under.
func (t Tunnel) DownSubject() Subject {
	return Subject("down/" + string(t.Node) + "/" + string(t.Proxy) + "/" + t.Name)
}

// parseClaimSubject reads what ClaimSubject wrote, which does not say the node.
func parseClaimSubject(s Subject) (Tunnel, error) {
	part := strings.Split(string(s), "/")
	if len(part) != 3 || part[0] != "claim" {
		return Tunnel{}, fmt.Errorf("%q is no subject of a claim", string(s))
	}
	return parseTunnel("", part[1], part[2])
}

func parseDownSubject(s Subject) (Tunnel, error) {
	part := strings.Split(string(s), "/")
	if len(part) != 4 || part[0] != "down" {
		return Tunnel{}, fmt.Errorf("%q is no subject of a down", string(s))
	}
	if _, err := identity.ParseID(part[1]); err != nil {
		return Tunnel{}, err
	}
	return parseTunnel(identity.ID(part[1]), part[2], part[3])
}

func parseTunnel(node identity.ID, proxy, name string) (Tunnel, error) {
	id, err := identity.ParseID(proxy)
	if err != nil {
		return Tunnel{}, err
	}
	return Tunnel{node, id, name}, tables.CheckName(name)
}

// Gone takes back what its owner said about a subject before; Everything is a
// goodbye. It stands in the place of what it deletes until that has expired.
type Gone struct {
	Of Subject
}

func readGone(s Subject) (*Gone, error) {
	g := &Gone{s}
	if s == Everything || s == SubjectProxy {
		return g, nil
	}
	if _, err := parseClaimSubject(s); err == nil {
		return g, nil
	}
	if _, err := parseDownSubject(s); err == nil {
		return g, nil
	}
	// A heartbeat ends by itself.
	return nil, fmt.Errorf("%q cannot be taken back", string(s))
}

func (*Gone) kind() Kind             { return KindGone }
func (g *Gone) subject() Subject     { return g.Of }
func (*Gone) fields() []field        { return nil }
func (*Gone) entitled(*Record) error { return nil }
func (g *Gone) same(other Body) bool { o, ok := other.(*Gone); return ok && o.Of == g.Of }
