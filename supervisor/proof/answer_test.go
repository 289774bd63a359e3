package proof

import (
	"bytes"
	"testing"
)

// FuzzAnswer throws what strangers send at both ends: nothing but a question of
// its own kind is answered, and never at greater length.
func FuzzAnswer(f *testing.F) {
	canary := NewCanary().answer
	guard := guardAnswer(leaseTag("lease"), Key("key"))
	nonce := bytes.Repeat([]byte{7}, nonceLen)
	f.Add([]byte(canaryMagic + string(nonce)))
	f.Add([]byte(guardMagic + string(leaseTag("lease")) + string(nonce)))
	f.Add([]byte(guardMagic + string(leaseTag("other")) + string(nonce)))
	f.Add([]byte{})
	f.Add([]byte("\x16\x03\x01\x02\x00"))
	f.Fuzz(func(t *testing.T, q []byte) {
		if a := canary(q); a != nil && (len(a) > len(q) || len(q) != canaryLen || !bytes.HasPrefix(q, []byte(canaryMagic))) {
			t.Errorf("the canary answered %x to %q", a, q)
		}
		if a := guard(q); a != nil && (len(a) > len(q) || !bytes.HasPrefix(q, []byte(guardMagic+string(leaseTag("lease"))))) {
			t.Errorf("the guard answered %x to %q", a, q)
		}
	})
}

func TestAnswer_isNotLongerThanTheQuestion(t *testing.T) {
	if answerLen > canaryLen || answerLen > guardLen {
		t.Errorf("%d bytes answer %d and %d", answerLen, canaryLen, guardLen)
	}
}
