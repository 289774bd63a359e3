package proof_test

import (
	"net/netip"
	"testing"

	"p2prc/supervisor/proof"
	"p2prc/tables"
)

func TestRelay(t *testing.T) {
	key := proof.Key("guard key")
	for _, proto := range []tables.Protocol{tables.TCP, tables.UDP} {
		at := free(t, "127.0.0.1")
		guard(t, proto, at, "lease", string(key))
		q := proof.Target{Type: proto, Addr: at, LeaseID: "lease", Key: key}.Question()
		answer, err := proof.Relay(t.Context(), proto, at, q.Bytes)
		if err != nil || !q.Right(answer) {
			t.Errorf("%s: answer %x, %v", proto, answer, err)
		}
		other := proof.Target{Type: proto, Addr: at, LeaseID: "lease", Key: key}.Question()
		if other.Right(answer) {
			t.Errorf("%s: an old answer is right again", proto)
		}
	}
}

// A relay is no way to send something else to somebody.
func TestRelay_onlyQuestions(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:9")
	q := proof.NewCanary().Question()
	for name, b := range map[string][]byte{
		"text":        []byte("GET / HTTP/1.1\r\n\r\n"),
		"too long":    append(q.Bytes, 0),
		"too short":   q.Bytes[:len(q.Bytes)-1],
		"other magic": append([]byte("\x00p2prc\x01X"), q.Bytes[8:]...),
	} {
		if _, err := proof.Relay(t.Context(), tables.TCP, at, b); err == nil || err.Error() != "not a question to a guard or a canary" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := proof.Relay(t.Context(), tables.UDP, at, nil); err == nil {
		t.Error("a datagram without a question")
	}
}
