package main

import (
	"errors"
	"strings"

	"p2prc/supervisor"
	"p2prc/supervisor/discovery"
	"p2prc/tables/identity"
)

const (
	upstreamHint = "write HOST, HOST:PORT, auto, or in quotes what p2prc --join-string prints at the reverse proxy"
	seedHint     = "write HOST or HOST:PORT, such as 203.0.113.7"
)

// upstream is the reverse proxy of --connect-reverse-proxy. A join string
// holds a token, so no error repeats it.
type upstream struct {
	identity.Join
	auto bool // p2prc is to choose
}

// UnmarshalText reads HOST, HOST:PORT, a join string or "auto".
func (u *upstream) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*u = upstream{auto: true}
		return nil
	}
	join, err := identity.ParseJoin(string(text))
	if err != nil {
		return usage(upstreamHint, "%w", err)
	}
	*u = upstream{Join: join}
	return nil
}

// place is where it is, without what is secret.
func (u upstream) place() string {
	if u.auto {
		return "auto"
	}
	return supervisor.Upstream{Host: u.Host, Port: u.Port}.String()
}

// token is a flag that takes a token.
type token struct{ identity.Token }

// UnmarshalText reads a token that somebody chose.
func (t *token) UnmarshalText(text []byte) error {
	got, err := identity.ParseToken(strings.TrimSpace(string(text)))
	if err != nil {
		return usage("leave it out and the reverse proxy makes a good one; p2prc --join-string prints it there", "%w", err)
	}
	t.Token = got
	return nil
}

// seed is a flag that takes the address of a node.
type seed discovery.Seed

// UnmarshalText reads HOST or HOST:PORT.
func (s *seed) UnmarshalText(text []byte) error {
	join, err := identity.ParseJoin(string(text))
	if err == nil && (join.Pin != "" || !join.Token.Zero()) {
		err = errors.New("a join string is for --connect-reverse-proxy")
	}
	if err != nil {
		return usage(seedHint, "%w", err)
	}
	*s = seed{Host: join.Host, Port: join.Port}
	return nil
}
