package peerapi

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

// The join exchange opens a connection with ALPN p2prc-join/1, before any HTTP:
//
//	client: proof (32 bytes) | length of its name (1 byte) | name
//	server: 1 | proof (32 bytes)
//	    or: 0 | length (2 bytes, big endian) | Refusal as JSON
//
// The client goes first: a server that does not know the token learns nothing
// it could use elsewhere, and is told apart before it hears a request.
const (
	joinRefused  = 0
	joinAccepted = 1
	maxRefusal   = 4 << 10 // printable text, with each byte escaped
)

// ErrWrongProof says that the node at the other end accepted the token without
// knowing it: it is not the reverse proxy that the token is from. It learned
// nothing that is secret.
var ErrWrongProof = errors.New("the node there does not know this token, it is not the reverse proxy that made it")

// join is the server's side. It returns nil when the node is enrolled.
func (p *Port) join(conn *tls.Conn, g *guest) error {
	if err := conn.SetDeadline(time.Now().Add(joinWait)); err != nil {
		return err
	}
	proof, name, err := readJoin(conn)
	if err != nil {
		return err
	}
	exporter, err := identity.JoinExporter(conn.ConnectionState())
	if err != nil {
		return err
	}
	token, err := p.enrol(exporter, proof, Peer{ID: g.id, Name: name, From: g.from})
	if err != nil {
		return errors.Join(err, writeRefusal(conn, p.refusal(g.id, err)))
	}
	answer := append([]byte{joinAccepted}, identity.JoinProof(token, exporter, identity.JoinServer)...)
	if _, err := conn.Write(answer); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// enrol checks what a node showed, and lets it in.
func (p *Port) enrol(exporter, proof []byte, peer Peer) (identity.Token, error) {
	if p.o.API == nil || p.o.Tokens == nil || p.o.Enrol == nil {
		return identity.Token{}, &Refusal{CodeNotAProxy, "this node is not a reverse proxy"}
	}
	token, ok := matching(p.o.Tokens(), exporter, proof)
	if !ok {
		return identity.Token{}, &Refusal{CodeBadToken, "the token is not valid here, or not any more"}
	}
	if peer.Name != "" {
		if err := tables.CheckName(peer.Name); err != nil {
			return identity.Token{}, badRequest("%w", err)
		}
	}
	return token, p.o.Enrol(peer)
}

// matching finds the token of a proof. It always looks at all of them, so that
// the time it takes says nothing of which one it was.
func matching(tokens []identity.Token, exporter, proof []byte) (token identity.Token, ok bool) {
	for _, t := range tokens {
		if identity.CheckJoinProof(t, exporter, identity.JoinClient, proof) {
			token, ok = t, true
		}
	}
	return token, ok
}

// refusal is what the node hears of an error.
func (p *Port) refusal(id identity.ID, err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	p.log.warn("enrolling a node", id, err)
	return &Refusal{CodeUnavailable, "the reverse proxy could not enrol this node now, its log says why"}
}

// joinAs is the client's side. It returns nil when the proxy is the one of the
// token, and has enrolled this node.
func joinAs(conn *tls.Conn, token identity.Token, name string) error {
	exporter, err := identity.JoinExporter(conn.ConnectionState())
	if err != nil {
		return err
	}
	hello := identity.JoinProof(token, exporter, identity.JoinClient)
	hello = append(hello, byte(len(name)))
	if _, err := conn.Write(append(hello, name...)); err != nil {
		return err
	}
	proof, err := readJoinAnswer(conn)
	if err != nil {
		return err
	}
	if !identity.CheckJoinProof(token, exporter, identity.JoinServer, proof) {
		return ErrWrongProof
	}
	return nil
}

func readJoin(r io.Reader) (proof []byte, name string, err error) {
	head := make([]byte, identity.JoinProofSize+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, "", err
	}
	n := int(head[identity.JoinProofSize])
	if n > tables.MaxName {
		return nil, "", fmt.Errorf("a name of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, "", err
	}
	return head[:identity.JoinProofSize], string(b), nil
}

func readJoinAnswer(r io.Reader) (proof []byte, err error) {
	var status [1]byte
	if _, err := io.ReadFull(r, status[:]); err != nil {
		return nil, err
	}
	switch status[0] {
	case joinAccepted:
		proof = make([]byte, identity.JoinProofSize)
		if _, err := io.ReadFull(r, proof); err != nil {
			return nil, err
		}
		return proof, nil
	case joinRefused:
		return nil, readRefusal(r)
	}
	return nil, fmt.Errorf("answer %d to a join", status[0])
}

func writeRefusal(w io.Writer, refusal *Refusal) error {
	b, err := json.Marshal(Refusal{refusal.Code, printable(refusal.Message)})
	if err != nil {
		return err
	}
	b = append(binary.BigEndian.AppendUint16([]byte{joinRefused}, uint16(len(b))), b...)
	_, err = w.Write(b)
	return err
}

// readRefusal gives the refusal, or why it cannot be read, as its error.
func readRefusal(r io.Reader) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxRefusal {
		return fmt.Errorf("a refusal of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return parseRefusal(b)
}
