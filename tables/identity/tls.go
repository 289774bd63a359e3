package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Certificates carry a key and no opinion: they are valid from the epoch, when
// a Pi without a clock boots, until the date that RFC 5280 4.1.2.5 gives to
// certificates that never expire.
var (
	validFrom  = time.Unix(0, 0).UTC()
	validUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// PinError says that another node answered than the one that was expected.
type PinError struct {
	Want ID
	Got  ID // as it claims: it was refused before it had to prove that
}

func (e *PinError) Error() string {
	return fmt.Sprintf("another node answered: want %s, got %s", e.Want, e.Got)
}

// selfSigned is the certificate that carries a node's key through TLS. Ed25519
// is deterministic, so the same key always gives the same certificate.
func selfSigned(private ed25519.PrivateKey) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    validFrom,
		NotAfter:     validUntil,
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("making the node's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the node's certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, nil
}

// ServerTLS accepts any node that proves its key and speaks one of alpn.
// PeerID then says which node it is; whether it may stay is for the caller.
func ServerTLS(k Key, alpn []string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             alpn,
		ClientAuth:             tls.RequireAnyClientCert, // checked by key, in checkPeer
		SessionTicketsDisabled: true,                     // a resumed session would not prove the key again
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.s.certificate() },
		VerifyConnection:       func(cs tls.ConnectionState) error { return checkPeer(cs, "") },
	}
}

// ClientTLS connects to the node want; anything else there is a *PinError. An
// empty want accepts any node: the caller then proves it by a token, or knows
// that it trusts whoever answered first.
func ClientTLS(k Key, want ID, alpn []string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             alpn,
		InsecureSkipVerify:     true, // no names and no dates: checkPeer checks the key
		SessionTicketsDisabled: true,
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.s.certificate() },
		VerifyConnection:       func(cs tls.ConnectionState) error { return checkPeer(cs, want) },
	}
}

// checkPeer runs inside the handshake. The proof that the peer holds the key
// of its certificate is TLS's own, and comes right after.
func checkPeer(cs tls.ConnectionState, want ID) error {
	// crypto/tls lets a peer pass that names no protocol at all.
	if cs.NegotiatedProtocol == "" {
		return errors.New("the other end speaks no protocol of p2prc")
	}
	got, err := PeerID(cs)
	if err != nil {
		return err
	}
	if want != "" && got != want {
		return &PinError{Want: want, Got: got}
	}
	return nil
}

// PeerID is the node at the other end of a finished handshake.
func PeerID(cs tls.ConnectionState) (ID, error) {
	public, err := PeerKey(cs)
	if err != nil {
		return "", err
	}
	return IDOf(public), nil
}

// PeerKey is the key that PeerID is the hash of.
func PeerKey(cs tls.ConnectionState) (ed25519.PublicKey, error) {
	if len(cs.PeerCertificates) == 0 {
		return nil, errors.New("the other end showed no key")
	}
	public, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the other end shows a certificate that is not a node's")
	}
	return public, nil
}
