package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
)

// The two ends of a join. Each proves the token under its own name, so that a
// proof sent back to its maker is worth nothing.
const (
	JoinClient = "client"
	JoinServer = "server"
)

// The two ends of a connection in a private mesh. A proof for a mesh is none
// for a join: one word may be the token of both.
const (
	MeshClient = "mesh client"
	MeshServer = "mesh server"
)

// JoinProofSize is the length of a join proof in bytes.
const JoinProofSize = sha256.Size

const joinLabel = "EXPORTER-p2prc-join-v1"

// JoinExporter is the value that only the two ends of this one connection
// share. TLS 1.3 derives it from both key exchanges and the server's
// certificate (RFC 8446 7.5): somebody in between has two connections, and two
// values.
func JoinExporter(cs tls.ConnectionState) ([]byte, error) {
	b, err := cs.ExportKeyingMaterial(joinLabel, nil, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("binding the join to its connection: %w", err)
	}
	return b, nil
}

// JoinProof shows that role's end of the connection knows the token, without
// sending it.
func JoinProof(t Token, exporter []byte, role string) []byte {
	mac := hmac.New(sha256.New, []byte(t.Reveal()))
	mac.Write(exporter) // of one fixed length: no exporter and role read like another pair
	mac.Write([]byte(role))
	return mac.Sum(nil)
}

// CheckJoinProof compares in constant time. No proof is right for no token.
func CheckJoinProof(t Token, exporter []byte, role string, proof []byte) bool {
	return !t.Zero() && hmac.Equal(proof, JoinProof(t, exporter, role))
}
