package record_test

import (
	"testing"

	"pgregory.net/rapid"

	"p2prc/tables/record"
)

func TestBeat_thereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := beatText(rapid.Uint64().Draw(t, "serial"), start)
		x.fields = nil
		raw := x.with("free 0").with("load 131071").sign(keyOf(0))
		r, err := record.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		head, ok := record.BeatHead(raw)
		short, fits := r.AppendBeat([]byte("x"))
		if !ok || !fits {
			t.Fatal("not short")
		}
		again, rest, ok := record.ReadBeat(head, append(short[1:], "rest"...))
		if !ok || string(again) != string(raw) || string(rest) != "rest" {
			t.Fatalf("got %q, %q", again, rest)
		}
		if len(short) > 95 {
			t.Fatalf("%d bytes", len(short))
		}
		alone, ok := record.ShortBeat(raw)
		if !ok || len(alone) > 95+32 {
			t.Fatalf("alone: %v, %d bytes", ok, len(alone))
		}
		if again, ok = record.LongBeat(alone); !ok || string(again) != string(raw) {
			t.Fatalf("alone: got %q", again)
		}
		if _, ok := record.LongBeat(append(alone, 0)); ok {
			t.Fatal("a byte too many is none of it")
		}
	})
}

func TestBeat_notShort(t *testing.T) {
	for name, raw := range map[string][]byte{
		"says more":    beatText(1, start).with("zz 1").sign(keyOf(0)),
		"no heartbeat": proxyText(1, start).sign(keyOf(0)),
	} {
		r, err := record.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := r.AppendBeat(nil); ok || len(got) > 0 {
			t.Errorf("%s: got %q", name, got)
		}
		if got, ok := record.ShortBeat(raw); ok {
			t.Errorf("%s: got %q alone", name, got)
		}
	}
	for _, raw := range []string{"", "p2prc-record-v1\nheartbeat\n", "p2prc-record-v1\nheartbeat\n\n\n", "p2prc-record-v1\nproxy\n\n\n\n"} {
		if head, ok := record.BeatHead([]byte(raw)); ok {
			t.Errorf("%q has the head %q", raw, head)
		}
	}
}

func FuzzReadBeat(f *testing.F) {
	raw := beatText(1, start).sign(keyOf(0))
	r, err := record.Parse(raw)
	if err != nil {
		f.Fatal(err)
	}
	head, _ := record.BeatHead(raw)
	short, _ := r.AppendBeat(nil)
	f.Add(head, short)
	f.Add([]byte{}, []byte{0xff})
	f.Fuzz(func(t *testing.T, head, short []byte) {
		got, rest, ok := record.ReadBeat(head, short)
		if !ok {
			return
		}
		if len(rest) >= len(short) {
			t.Error("it read nothing")
		}
		if r, err := record.Parse(got); err == nil {
			h, ok := record.BeatHead(got)
			again, fits := r.AppendBeat(nil)
			if !ok || !fits || r.Kind() != record.KindHeartbeat {
				t.Fatalf("from %q and %q came %q", h, again, got)
			}
			if back, _, _ := record.ReadBeat(h, again); string(back) != string(got) {
				t.Errorf("got %q, then %q", got, back)
			}
		}
	})
}

func FuzzLongBeat(f *testing.F) {
	short, _ := record.ShortBeat(beatText(1, start).sign(keyOf(0)))
	f.Add(short)
	f.Add(short[:40])
	f.Fuzz(func(t *testing.T, short []byte) {
		raw, ok := record.LongBeat(short)
		if !ok {
			return
		}
		if _, err := record.Parse(raw); err != nil {
			return // a number out of range, for one
		}
		again, ok := record.ShortBeat(raw)
		if back, _ := record.LongBeat(again); !ok || string(back) != string(raw) {
			t.Errorf("%q came back as %q", raw, back)
		}
	})
}
