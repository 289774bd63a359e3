package proof

import (
	"context"
	"errors"
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

// Relay asks a question for somebody who cannot go that way, and gives back what
// was answered, right or not. Without a question it is a bare connect.
func Relay(ctx context.Context, w Way, q []byte) (answer []byte, err error) {
	switch {
	case len(q) == 0 && w.Type.Transport() == tables.TCP:
		return nil, Connect(ctx, w.Addr)
	case len(q) == guardLen && string(q[:magicLen]) == guardMagic && !w.Type.ByName():
	case len(q) == canaryLen && string(q[:magicLen]) == canaryMagic:
	default:
		return nil, errNoQuestion
	}
	err = w.ask(ctx, q, func(got []byte) bool {
		answer = slices.Clone(got)
		return len(got) == answerLen
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}
