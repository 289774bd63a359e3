package proof

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"

	"p2prc/tables"
)

// procNet holds the kernel's tables of sockets, of this network namespace.
const procNet = "/proc/self/net/"

// readListeners reads who listens, without looking at what was not asked for.
func readListeners(tcp, udp bool) (listeners, error) {
	l := make(listeners)
	if tcp {
		if err := readProto(l, tables.TCP, "tcp"); err != nil {
			return nil, err
		}
	}
	if udp {
		if err := readProto(l, tables.UDP, "udp"); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// readProto asks by sock_diag, and reads the table in /proc where the kernel
// does not know that, or a sandbox does not let it through.
func readProto(l listeners, proto tables.Protocol, file string) error {
	l[proto] = make(map[netip.AddrPort]bool)
	if diagListeners(proto, l[proto]) == nil {
		return nil
	}
	return readProc(l[proto], proto, file)
}

func readProc(into map[netip.AddrPort]bool, proto tables.Protocol, file string) error {
	for _, name := range []string{procNet + file, procNet + file + "6"} {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && name != procNet+file {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("reading who listens: %w", err)
		}
		parseListeners(b, proto, into)
	}
	return nil
}

// States of a socket in /proc/net (linux/include/net/tcp_states.h).
const (
	stateListen = "0A" // TCP
	stateClose  = "07" // UDP that is not connected to anybody
)

// parseListeners reads one table: a header, then a line for each socket with
// its number, local address, remote address, state and more.
func parseListeners(table []byte, proto tables.Protocol, into map[netip.AddrPort]bool) {
	want := stateListen
	if proto == tables.UDP {
		want = stateClose
	}
	_, rows, _ := bytes.Cut(table, []byte("\n"))
	for line := range bytes.Lines(rows) {
		f := bytes.Fields(line)
		if len(f) < 4 || string(f[3]) != want {
			continue
		}
		if a, ok := parseProcAddr(string(f[1])); ok {
			into[a] = true
		}
	}
}

const (
	hex4 = len("0100007F:1F90")
	hex6 = len("00000000000000000000000001000000:1F90")
)

// parseProcAddr reads "0100007F:1F90", 127.0.0.1:8080 on a little-endian host:
// words of 32 bits in the host's byte order, then the port. Addresses of IPv4
// in IPv6 come out as IPv4.
func parseProcAddr(s string) (netip.AddrPort, bool) {
	if len(s) != hex4 && len(s) != hex6 {
		return netip.AddrPort{}, false
	}
	colon := len(s) - len(":1F90")
	raw, err := hex.DecodeString(s[:colon])
	if err != nil || s[colon] != ':' {
		return netip.AddrPort{}, false
	}
	for w := raw; len(w) > 0; w = w[4:] {
		binary.NativeEndian.PutUint32(w, binary.BigEndian.Uint32(w))
	}
	port, err := strconv.ParseUint(s[colon+1:], 16, 16)
	addr, ok := netip.AddrFromSlice(raw)
	if err != nil || !ok {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), true
}
