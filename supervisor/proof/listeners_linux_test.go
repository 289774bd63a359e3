package proof

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"p2prc/tables"
)

// From Linux 6.1 on amd64, shortened.
const (
	procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21000 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21001 1 0 100 0 0 10 0
   2: 0100007F:B1C2 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 21002 1 0 100 0 0 10 0
`
	procTCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:4E20 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21003 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:4E21 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21004 1 0 100 0 0 10 0
   2: B80D0120000000000000000001000000:4E22 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21005 1 0 100 0 0 10 0
`
	procUDP = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1000: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21006 2 0000000000000000 0
 1001: 0100007F:14EA 0100007F:14E9 01 00000000:00000000 00:00000000 00000000     0        0 21007 2 0000000000000000 0
`
)

func TestParseListeners(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the samples are from a little-endian host")
	}
	got := make(map[netip.AddrPort]bool)
	parseListeners([]byte(procTCP), tables.TCP, got)
	parseListeners([]byte(procTCP6), tables.TCP, got)
	want := map[netip.AddrPort]bool{
		ap("127.0.0.1:8080"): true, ap("0.0.0.0:22"): true,
		ap("[::]:20000"): true, ap("127.0.0.1:20001"): true, ap("[2001:db8::1]:20002"): true,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(x, y netip.AddrPort) bool { return x == y })); diff != "" {
		t.Error(diff)
	}
	got = make(map[netip.AddrPort]bool)
	parseListeners([]byte(procUDP), tables.UDP, got)
	if len(got) != 1 || !got[ap("0.0.0.0:5353")] {
		t.Errorf("UDP: %v", got)
	}
}

func FuzzParseListeners(f *testing.F) {
	f.Add([]byte(procTCP))
	f.Add([]byte(procTCP6))
	f.Add([]byte(procUDP))
	f.Add([]byte("h\n0: :0016 0 0A\n1: 0100007F1F90: 0 0A\n2: 0100007F:+F90 0 0A"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, proto := range []tables.Protocol{tables.TCP, tables.UDP} {
			got := make(map[netip.AddrPort]bool)
			parseListeners(b, proto, got)
			for a := range got {
				if !a.IsValid() || a.Addr().Is4In6() || a.Addr().Zone() != "" {
					t.Errorf("%q became %v", b, a)
				}
			}
		}
	})
}
