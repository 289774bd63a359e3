package peerapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"p2prc/tables"
	"p2prc/tables/identity"
)

func TestLimiter(t *testing.T) {
	start := time.Unix(1000, 0)
	l := newLimiter(50, 200)
	count := func(id identity.ID, now time.Time) (n int) {
		for l.allow(id, now) {
			n++
		}
		return n
	}
	for _, tt := range []struct {
		name string
		id   identity.ID
		at   time.Duration
		want int
	}{
		{"all at once", "a", 0, 200},
		{"and no more", "a", 0, 0},
		{"another node", "b", 0, 200},
		{"after a second", "a", time.Second, 50},
		{"after a day", "a", 24 * time.Hour, 200},
		{"the clock goes back", "a", time.Hour, 0},
	} {
		if got := count(tt.id, start.Add(tt.at)); got != tt.want {
			t.Errorf("%s: %d calls, want %d", tt.name, got, tt.want)
		}
	}
}

// However many keys somebody makes, only those of the last moments are kept.
func TestLimiter_forgets(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter(50, 200)
	for i := range 100_000 {
		if !l.allow(identity.ID(fmt.Sprint(i)), now) {
			t.Fatal("a new key is limited")
		}
		now = now.Add(time.Millisecond)
	}
	if len(l.buckets) > 2*sweepFrom {
		t.Errorf("%d buckets are kept", len(l.buckets))
	}
}

func TestPrintable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.Map(rapid.StringN(200, 400, -1), func(s string) string { return s })).Draw(t, "s")
		got := printable(s)
		if !utf8.ValidString(got) || len(got) > maxText {
			t.Fatalf("%q became %q", s, got)
		}
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q still has %q", s, r)
			}
		}
		if printable(got) != got {
			t.Fatalf("%q changes again", got)
		}
	})
	for in, want := range map[string]string{
		"plain sentence": "plain sentence", "Grüße, 世界": "Grüße, 世界",
		"\x1b[2J\r\n\x00": "?[2J???", "abc\u202exe.txt": "abc?xe.txt", "\xff": "?",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSecretsOfTheWireDoNotPrint(t *testing.T) {
	frp := FRP{Token: "SECRET", Credential: "SECRET", CertPEM: []byte("SECRET")}
	l := Lease{Name: "web", ID: "l1", GuardKey: []byte("SECRET"), TTL: 1000}
	reply := ReserveReply{Leases: []Lease{l}, FRP: frp}
	needles := []string{"SECRET", fmt.Sprintf("%x", "SECRET"), "83 69 67", "U0VDUkVU"}
	for _, v := range []any{frp, &frp, l, &l, reply, &reply, struct{ R ReserveReply }{reply}, []Lease{l}} {
		var b strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
		switch v.(type) {
		case FRP, *FRP, Lease, *Lease, ReserveReply, *ReserveReply: // JSON of what merely holds one is what goes over the wire
			slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
		}
		for _, n := range needles {
			if strings.Contains(b.String(), n) {
				t.Errorf("%T prints a secret:\n%s", v, b.String())
			}
		}
	}
	if got := fmt.Sprint(l); got != `lease "l1": "web" gets "" port 0 for 1s` {
		t.Errorf("a lease prints as %s", got)
	}
}

func TestHello_accept(t *testing.T) {
	id := identity.NewKey().ID()
	good := func() Hello {
		return Hello{Version: "1", Proxy: tables.ReverseProxy{NodeID: id, ServerName: "p", Address: netip.MustParseAddr("203.0.113.7")}}
	}
	for _, tt := range []struct {
		name   string
		change func(*Hello)
		ok     bool
	}{
		{"right", func(*Hello) {}, true},
		{"row of another node", func(h *Hello) { h.Proxy.NodeID = "x\x1b" }, false},
		{"bad name", func(h *Hello) { h.Proxy.ServerName = "a b" }, false},
		{"no address", func(h *Hello) { h.Proxy.Address = netip.Addr{} }, false},
		{"IPv6 address", func(h *Hello) { h.Proxy.Address = netip.MustParseAddr("2001:db8::1") }, false},
	} {
		h := good()
		tt.change(&h)
		if err := h.accept(id); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	h := good()
	h.Version, h.Proxy.FRPVersion = "1\n2", "\x1b[1m"
	if err := h.accept(id); err != nil || h.Version != "1?2" || h.Proxy.FRPVersion != "?[1m" {
		t.Errorf("%+v, %v", h, err)
	}
}

// A connection that gets through its handshake while the port closes is not
// waited for.
func TestHandover_afterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandover(nil)
		go func() {
			synctest.Wait() // serve waits for a server
			h.Close()
		}()
		h.serve(deafConn{}, nil)
		h.serve(deafConn{}, nil)
		if _, err := h.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v", err)
		}
	})
}

// A proxy may refuse, and hang up, before it has read a long request.
func TestLine_answerToHalfARequest(t *testing.T) {
	const refusal = `{"code":"quota","message":"no"}`
	head := fmt.Sprintf("HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n", len(refusal))
	l := newLine(deafConn{r: strings.NewReader(head + refusal)}, "peer", nil)
	a, err := l.roundTrip(question{method: "POST", path: pathReport, body: make([]byte, 1<<20)})
	if err != nil || a.status != 403 || string(a.body) != refusal {
		t.Errorf("%+v, %v", a, err)
	}
	l = newLine(deafConn{r: strings.NewReader("")}, "peer", nil)
	if _, err := l.roundTrip(question{method: "POST", path: pathReport}); !errors.Is(err, errDeaf) {
		t.Errorf("error %v, want the cause", err)
	}
}

var errDeaf = errors.New("connection reset")

// deafConn answers, but takes nothing.
type deafConn struct {
	net.Conn
	r *strings.Reader
}

func (d deafConn) Read(p []byte) (int, error) { return d.r.Read(p) }
func (deafConn) Write([]byte) (int, error)    { return 0, errDeaf }

func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"id":"1","name":"n","wants":[{"name":"a","type":"TCP","candidates":[1,2],"lease":"aGk="}]}`))
	f.Add([]byte(`{"rows":[{"lease_id":"l","state":"up","local":"127.0.0.1:80","reason":"x"}],"left":true}`))
	f.Add([]byte(`{"lease_ids":["a","b"]}`))
	f.Add([]byte(`{}{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range []request{new(ReserveRequest), new(ReportRequest), new(ReleaseRequest)} {
			if decodeRequest(b, r) != nil {
				continue
			}
			switch r := r.(type) {
			case *ReserveRequest:
				for _, w := range r.Wants {
					if tables.CheckName(w.Name) != nil || len(r.Wants) > maxItems {
						t.Fatalf("%q let %q through", b, w.Name)
					}
				}
			case *ReportRequest:
				for _, row := range r.Rows {
					if row.Reason != printable(row.Reason) || row.Proved != printable(row.Proved) ||
						checkIDChars(row.LeaseID) != nil || strings.Contains(row.Local.String(), "%") {
						t.Fatalf("%q let %+v through", b, row)
					}
				}
			case *ReleaseRequest:
				for _, id := range r.LeaseIDs {
					if checkIDChars(id) != nil {
						t.Fatalf("%q let %q through", b, id)
					}
				}
			}
		}
	})
}

func FuzzReplies(f *testing.F) {
	f.Add([]byte(`{"leases":[{"name":"a","type":"TCP","port":20000,"id":"l","ttl_ms":600000}],"frp":{"port":7000}}`))
	f.Add([]byte(`{"rows":[{"lease_id":"l","ttl_ms":1,"reason":"x"}]}`))
	f.Add([]byte(`{"code":"quota","message":"m\u001b"}`))
	f.Add([]byte(`{"version":"1","proxy":{"server_name":"p","address":"203.0.113.7"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range []reply{new(Hello), new(ReserveReply), new(ReportReply)} {
			if decodeReply(b, r) == nil {
				_ = r.accept("")
			}
		}
		if r, ok := errors.AsType[*Refusal](parseRefusal(b)); ok {
			if r.Message == "" || r.Message != printable(r.Message) || checkIDChars(string(r.Code)) != nil {
				t.Fatalf("%q is the refusal %q", b, r)
			}
		}
		var ev Event
		if json.Unmarshal(b, &ev) == nil && ev.accept() == nil && strings.ContainsAny(ev.Name+string(ev.Kind), "\n\x1b") {
			t.Fatalf("%q is the event %q", b, ev)
		}
	})
}

func FuzzJoinFrames(f *testing.F) {
	f.Add(append(make([]byte, 32), 4, 'n', 'o', 'd', 'e'))
	f.Add(append([]byte{1}, make([]byte, 32)...))
	f.Add([]byte("\x00\x00\x1d{\"code\":\"quota\",\"message\":\"\"}"))
	f.Add([]byte{0, 0xff, 0xff})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if proof, name, err := readJoin(bytes.NewReader(b)); err == nil && (len(proof) != 32 || len(name) > tables.MaxName) {
			t.Fatalf("proof of %d bytes, name of %d", len(proof), len(name))
		}
		proof, err := readJoinAnswer(bytes.NewReader(b))
		if (err == nil) != (len(proof) == 32 && b[0] == joinAccepted) {
			t.Fatalf("%q: proof of %d bytes, %v", b, len(proof), err)
		}
	})
}

// What the server refuses with is what the client reads.
func TestRefusal_frames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := &Refusal{CodeQuota, rapid.StringN(1, 2000, -1).Draw(t, "message")}
		var b bytes.Buffer
		if err := writeRefusal(&b, sent); err != nil {
			t.Fatal(err)
		}
		_, err := readJoinAnswer(&b)
		got, ok := errors.AsType[*Refusal](err)
		if !ok || got.Code != CodeQuota || got.Message != printable(sent.Message) || b.Len() != 0 {
			t.Fatalf("%q came back as %v", sent.Message, err)
		}
	})
}
