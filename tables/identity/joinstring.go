package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// DefaultPort is the node port of a reverse proxy that names none.
const DefaultPort uint16 = 8088

const joinScheme = "p2prc://"

// Join is what a user hands to --connect-reverse-proxy:
//
//	[p2prc://]HOST[:PORT][#[PIN][/TOKEN]]
type Join struct {
	Host  string // an IPv4 address or a DNS name in lower case
	Port  uint16
	Pin   ID    // empty: not known
	Token Token // zero: none
}

// ParseJoin reads a join string, or a bare HOST or HOST:PORT. No error repeats
// what was given: any part of a mistyped one may be the token.
func ParseJoin(s string) (Join, error) {
	where, secrets, hasSecrets := strings.Cut(strings.TrimPrefix(s, joinScheme), "#")
	j := Join{Port: DefaultPort}
	if strings.Contains(where, "://") {
		return Join{}, errors.New("only p2prc:// may stand before the reverse proxy's address")
	}
	if strings.ContainsAny(where, "[]") || strings.Count(where, ":") > 1 {
		return Join{}, errors.New("IPv6 is not supported: give the reverse proxy's IPv4 address or its name")
	}
	host, port, hasPort := strings.Cut(where, ":")
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Join{}, errors.New("the port after the reverse proxy's address is not a number from 1 to 65535")
		}
		j.Port = uint16(n)
	}
	j.Host = strings.ToLower(host)
	if err := checkHost(j.Host); err != nil {
		return Join{}, err
	}
	if !hasSecrets {
		return j, nil
	}
	pin, token, hasToken := strings.Cut(secrets, "/")
	if pin != "" {
		id, err := ParseID(pin)
		if err != nil {
			return Join{}, errors.New("after # comes the reverse proxy's node ID: 32 characters of a-z and 2-7")
		}
		j.Pin = id
	}
	if hasToken {
		t, err := ParseToken(token)
		if err != nil {
			return Join{}, err
		}
		j.Token = t
	}
	return j, nil
}

const (
	maxHost  = 253 // RFC 1035 2.3.4, without the root's dot
	maxLabel = 63
)

// checkHost accepts an IPv4 address that can be dialled, or a DNS name.
func checkHost(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return errors.New("the reverse proxy's address is not one that can be connected to")
		}
		return nil
	}
	if host == "" {
		return errors.New("the reverse proxy's address is missing")
	}
	if len(host) > maxHost {
		return fmt.Errorf("the reverse proxy's name is longer than %d characters", maxHost)
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' ||
			!only(l, lower+digits+"-") {
			return errors.New("the reverse proxy is named by an IPv4 address or a DNS name of a-z, 0-9, - and dots")
		}
	}
	// Resolvers read 10.1, 0x7f000001 and 256.1.1.1 as numbers, or not at all.
	last := labels[len(labels)-1]
	if only(last, digits) || strings.HasPrefix(last, "0x") {
		return errors.New("the reverse proxy's address looks like an IPv4 address, but is none")
	}
	return nil
}

// Reveal is the join string with its token: what ParseJoin reads.
func (j Join) Reveal() string { return j.format(j.Token.Reveal()) }

// String is the join string with the token hidden.
func (j Join) String() string {
	if j.Token.Zero() {
		return j.format("")
	}
	return j.format(hidden)
}

func (j Join) format(token string) string {
	s := joinScheme + j.Host + ":" + strconv.Itoa(int(j.Port))
	if j.Pin != "" || token != "" {
		s += "#" + string(j.Pin)
	}
	if token != "" {
		s += "/" + token
	}
	return s
}
