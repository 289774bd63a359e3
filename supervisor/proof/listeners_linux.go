package proof

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"

	"p2prc/tables"
)

// States of a socket in /proc/net: a listening TCP socket, an unconnected UDP one.
const (
	tcpListen = "0A"
	udpUnconn = "07"
)

// readListeners reads the kernel's tables; false where /proc does not have them.
func readListeners() (listeners, bool) {
	l := listeners{tables.TCP: make(map[netip.AddrPort]bool), tables.UDP: make(map[netip.AddrPort]bool)}
	known := false
	for _, t := range []struct {
		file, state string
		proto       tables.Protocol
	}{
		{"/proc/net/tcp", tcpListen, tables.TCP}, {"/proc/net/tcp6", tcpListen, tables.TCP},
		{"/proc/net/udp", udpUnconn, tables.UDP}, {"/proc/net/udp6", udpUnconn, tables.UDP},
	} {
		b, err := os.ReadFile(t.file)
		if err != nil {
			continue // no IPv6 here
		}
		known = true
		parseListeners(b, t.state, l[t.proto])
	}
	return l, known
}

// parseListeners reads one table: a header, then lines of slot, local address,
// remote address, state and more.
func parseListeners(table []byte, state string, into map[netip.AddrPort]bool) {
	_, rest, _ := bytes.Cut(table, []byte("\n"))
	for line := range bytes.Lines(rest) {
		f := bytes.Fields(line)
		if len(f) < 4 || string(f[3]) != state {
			continue
		}
		if a, ok := parseAddr(string(f[1])); ok {
			into[a] = true
		}
	}
}

// parseAddr reads "0100007F:1F90": 32-bit words in the host's byte order, then
// the port.
func parseAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := bytes.Cut([]byte(s), []byte(":"))
	if !ok {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(string(host))
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(string(port), 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), true
}
