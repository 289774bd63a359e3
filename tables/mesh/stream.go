package mesh

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// What one end of a push/pull may say. memberlist itself makes room for a
// million members before it has read the first (0.7.0, readRemoteState).
const (
	maxStreamMembers = 4096
	maxStreamBytes   = 1 << 20
)

// headSize is how much of a push/pull holds its header for sure. One with a
// single member, and one has at least the sender, is longer.
const headSize = 64

// stream is a connection for one push/pull or ping, in the hands of memberlist.
type stream struct {
	*tls.Conn
	r     *bufio.Reader
	begun bool
	close func() error
}

func newStream(conn *tls.Conn, done func()) *stream {
	return &stream{
		Conn: conn,
		r:    bufio.NewReader(io.LimitReader(conn, maxStreamBytes)),
		close: sync.OnceValue(func() error {
			defer done()
			return conn.Close()
		}),
	}
}

// Read lets through what checkHead does. memberlist reads in one goroutine.
func (s *stream) Read(p []byte) (int, error) {
	if !s.begun {
		if err := s.checkHead(); err != nil {
			return 0, err
		}
		s.begun = true
	}
	return s.r.Read(p)
}

func (s *stream) Close() error { return s.close() }

func (s *stream) checkHead() error {
	kind, err := s.r.Peek(1)
	if err != nil {
		return err
	}
	switch kind[0] {
	case msgPing, msgAck, msgError:
		return nil
	case msgPushPull:
	default:
		return errGarbage
	}
	b, err := s.r.Peek(headSize)
	if err != nil {
		return err
	}
	var head struct{ Nodes, UserStateLen int }
	if err := codec.NewDecoderBytes(b[1:], new(codec.MsgpackHandle)).Decode(&head); err != nil {
		return fmt.Errorf("reading the head of a push/pull: %w", err)
	}
	if head.Nodes < 0 || head.Nodes > maxStreamMembers || head.UserStateLen < 0 || head.UserStateLen > 2*MaxDigest {
		return fmt.Errorf("a push/pull of %d members and %d bytes", head.Nodes, head.UserStateLen)
	}
	return nil
}
