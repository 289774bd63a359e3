package frpconf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// maxMessage bounds the names and metadata of one proxy, and the metadata of
// the login. frps drops the session over a message above 10 KiB, and with it
// all proxies of that frpc, again and again (0.61.0-0.70.1).
const maxMessage = 4 << 10

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// ProxyName is what frp calls a node's mapping. The node is part of it because
// a name may exist once in all of frps; frp's own prefix, `user`, is not used:
// frpc's status has it up to 0.67 and leaves it out from 0.68 on.
func ProxyName(node, name string) string { return node + "." + name }

// ParseProxyName undoes ProxyName. Neither a node ID nor a mapping's name
// holds a dot.
func ParseProxyName(s string) (node, name string, ok bool) {
	node, name, ok = strings.Cut(s, ".")
	if !ok || !isName(node) || !isName(name) || strings.Contains(name, ".") {
		return "", "", false
	}
	return node, name, true
}

// isName: frps's admin API finds a proxy by its name in the path of a URL, and
// fails with a slash in it (0.61.0-0.70.1).
func isName(s string) bool {
	return s != "" && strings.Trim(s, lower+upper+digits+"._-") == "" && strings.ContainsAny(s, lower+upper+digits)
}

// isHost: an IP address or a name of the DNS.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) <= 253 && isName(s)
}

// isDomain: a name of the DNS in small letters. frps takes a * for any name.
func isDomain(s string) bool {
	return len(s) <= 253 && strings.Trim(s, lower+digits+".-") == "" && strings.ContainsAny(s, lower) && strings.Contains(s, ".")
}

func checkMeta(key, value string) error {
	if !isName(key) {
		return fmt.Errorf("%q is not a key of metadata", key)
	}
	return checkTexts(text{"metadata " + key, value})
}

type text struct{ what, value string }

// checkTexts refuses what a TOML string or a path cannot hold. A text may be a
// secret, so no error quotes it.
func checkTexts(texts ...text) error {
	for _, t := range texts {
		switch {
		case !utf8.ValidString(t.value):
			return errors.New(t.what + " is not UTF-8")
		case strings.ContainsRune(t.value, 0):
			return errors.New(t.what + " holds a NUL byte")
		}
	}
	return nil
}
