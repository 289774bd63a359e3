package mesh

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"p2prc/tables/identity"
)

// A connection of the mesh begins with a hello, before anything of memberlist's:
//
//	who dialled: version | kind | address (4) | port (2) | private (0 or 1) | proof (32, if private) | length (2) | record
//	the other:   1 | proof (32, if private)
//	         or: 0 | why (1)
//
// The proofs are those of a join: HMACs of what only the two ends of this TLS
// connection share. Who dials goes first, so whoever does not know the token of
// a private mesh learns nothing there.
const (
	version = 1

	kindPackets = 'p' // one for each peer, for as long as it lasts
	kindStream  = 's' // one for each push/pull

	answerNo  = 0
	answerYes = 1

	helloWait = 5 * time.Second
)

// The reasons to send somebody away.
var (
	errToken     = errors.New("the mesh is private, and the two ends do not share its token")
	errUnvouched = errors.New("no record vouches for the node")
	errBusy      = errors.New("too many connections")
)

var whys = map[byte]error{1: errToken, 2: errUnvouched, 3: errBusy}

type hello struct {
	kind   byte
	at     netip.AddrPort // where who dialled can be dialled
	proof  []byte         // nil in an open mesh
	record []byte
}

func (h hello) encode() []byte {
	a := h.at.Addr().As4()
	b := append([]byte{version, h.kind}, a[:]...)
	b = binary.BigEndian.AppendUint16(b, h.at.Port())
	if h.proof == nil {
		b = append(b, 0)
	} else {
		b = append(append(b, 1), h.proof...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.record)))
	return append(b, h.record...)
}

func readHello(r io.Reader) (hello, error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return hello{}, err
	}
	h := hello{kind: head[1], at: netip.AddrPortFrom(netip.AddrFrom4([4]byte(head[2:6])), binary.BigEndian.Uint16(head[6:8]))}
	if head[0] != version || h.kind != kindPackets && h.kind != kindStream || head[8] > 1 {
		return hello{}, fmt.Errorf("a hello that begins with % x", head)
	}
	if head[8] == 1 {
		h.proof = make([]byte, identity.JoinProofSize)
		if _, err := io.ReadFull(r, h.proof); err != nil {
			return hello{}, err
		}
	}
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return hello{}, err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > MaxRecord {
		return hello{}, fmt.Errorf("a record of %d bytes", n)
	}
	h.record = make([]byte, n)
	_, err := io.ReadFull(r, h.record)
	return h, err
}

// greet opens a connection that this node dialled.
func (m *Mesh) greet(conn *tls.Conn, kind byte) error {
	if err := conn.SetDeadline(time.Now().Add(helloWait)); err != nil {
		return err
	}
	h := hello{kind: kind, at: m.o.Address, record: m.o.Record()}
	var exporter []byte
	if !m.o.Token.Zero() {
		var err error
		if exporter, err = identity.JoinExporter(conn.ConnectionState()); err != nil {
			return err
		}
		h.proof = identity.JoinProof(m.o.Token, exporter, identity.MeshClient)
	}
	if _, err := conn.Write(h.encode()); err != nil {
		return err
	}
	proof, err := readAnswer(conn, h.proof != nil)
	if err != nil {
		return err
	}
	if h.proof != nil && !identity.CheckJoinProof(m.o.Token, exporter, identity.MeshServer, proof) {
		return errToken
	}
	return conn.SetDeadline(time.Time{})
}

func readAnswer(r io.Reader, private bool) (proof []byte, err error) {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, err
	}
	switch b[0] {
	case answerYes:
		if private {
			proof = make([]byte, identity.JoinProofSize)
			_, err = io.ReadFull(r, proof)
		}
		return proof, err
	case answerNo:
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, err
		}
		if why, ok := whys[b[0]]; ok {
			return nil, why
		}
	}
	return nil, fmt.Errorf("answer %d to a hello", b[0])
}

// welcome hears the hello of a peer, and answers it once allow agrees.
func (m *Mesh) welcome(conn *tls.Conn, peer identity.ID, allow func(hello) error) (hello, error) {
	if err := conn.SetDeadline(time.Now().Add(helloWait)); err != nil {
		return hello{}, err
	}
	h, err := readHello(conn)
	if err != nil {
		return hello{}, err
	}
	proof, err := m.checkHello(conn.ConnectionState(), h, peer)
	if err == nil {
		err = allow(h)
	}
	if err != nil {
		return hello{}, errors.Join(err, refuse(conn, err))
	}
	if _, err := conn.Write(append([]byte{answerYes}, proof...)); err != nil {
		return hello{}, err
	}
	return h, conn.SetDeadline(time.Time{})
}

// checkHello gives this end's proof, in a private mesh. A stranger's record is
// looked at only once its token is right.
func (m *Mesh) checkHello(state tls.ConnectionState, h hello, peer identity.ID) (proof []byte, err error) {
	if !m.o.Token.Zero() {
		exporter, err := identity.JoinExporter(state)
		if err != nil {
			return nil, err
		}
		if !identity.CheckJoinProof(m.o.Token, exporter, identity.MeshClient, h.proof) {
			return nil, errToken
		}
		proof = identity.JoinProof(m.o.Token, exporter, identity.MeshServer)
	} else if h.proof != nil {
		return nil, errToken
	}
	m.deliver(kindRecord, h.record)
	if peer == m.o.Key.ID() || !m.o.Vouched(peer, h.at) {
		return nil, errUnvouched
	}
	return proof, nil
}

func refuse(w io.Writer, err error) error {
	for code, why := range whys {
		if errors.Is(err, why) {
			_, err := w.Write([]byte{answerNo, code})
			return err
		}
	}
	return nil
}
