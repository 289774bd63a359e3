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
		answer, err := proof.Relay(t.Context(), proof.Way{Type: proto, Addr: at}, q.Bytes)
		if err != nil || !q.Right(answer) {
			t.Errorf("%s: answer %x, %v", proto, answer, err)
		}
		other := proof.Target{Type: proto, Addr: at, LeaseID: "lease", Key: key}.Question()
		if other.Right(answer) {
			t.Errorf("%s: an old answer is right again", proto)
		}
	}
}

func TestRelay_byName(t *testing.T) {
	c := proof.NewCanary()
	for _, w := range []proof.Way{httpAt(siteAt(t, c)), httpsAt(t, c.Answer)} {
		q := c.Question()
		answer, err := proof.Relay(t.Context(), w, q.Bytes)
		if err != nil || !q.Right(answer) {
			t.Errorf("%s: answer %x, %v", w.Type, answer, err)
		}
		if answer, err := proof.Relay(t.Context(), w, nil); err != nil || answer != nil {
			t.Errorf("%s, a bare connect: %x, %v", w.Type, answer, err)
		}
		guard := proof.Target{Type: tables.TCP, Addr: w.Addr, LeaseID: "lease", Key: proof.Key("key")}.Question()
		if _, err := proof.Relay(t.Context(), w, guard.Bytes); err == nil || err.Error() != "not a question to a guard or a canary" {
			t.Errorf("%s, a question to a guard: %v", w.Type, err)
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
		for _, proto := range []tables.Protocol{tables.TCP, tables.UDP, tables.HTTP, tables.HTTPS} {
			if _, err := proof.Relay(t.Context(), proof.Way{Type: proto, Addr: at}, b); err == nil || err.Error() != "not a question to a guard or a canary" {
				t.Errorf("%s, %s: %v", proto, name, err)
			}
		}
	}
	if _, err := proof.Relay(t.Context(), proof.Way{Type: tables.UDP, Addr: at}, nil); err == nil {
		t.Error("a datagram without a question")
	}
}
