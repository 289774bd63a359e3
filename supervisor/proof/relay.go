package proof

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"p2prc/tables"
)

// Question is one to a guard or a canary, and how to tell the right answer.
// Whoever carries it cannot make the answer up.
type Question struct {
	Bytes []byte
	Right func(answer []byte) bool
}

// errNoQuestion keeps a relay from sending anything else for somebody.
var errNoQuestion = errors.New("not a question to a guard or a canary")

// Relay asks a question for somebody who cannot reach the address, and gives
// back what was answered, right or not. Without a question it is a bare connect.
func Relay(ctx context.Context, proto tables.Protocol, addr netip.AddrPort, q []byte) (answer []byte, err error) {
	switch {
	case len(q) == 0 && proto == tables.TCP:
		return nil, Connect(ctx, addr)
	case len(q) == guardLen && string(q[:magicLen]) == guardMagic, len(q) == canaryLen && string(q[:magicLen]) == canaryMagic:
	default:
		return nil, errNoQuestion
	}
	err = exchange(ctx, proto, addr, q, func(got []byte) bool {
		answer = slices.Clone(got)
		return len(got) == answerLen
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}
