package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
)

// NewServerCert makes a P-256 key and a certificate for a server that stock
// frp checks by name: frps itself, and the gate that frps asks. It never
// expires, and its reader trusts the leaf itself (trustedCaFile, SSL_CERT_FILE).
// P-256, since an RSA key costs frps 100 ms at every start (0.52.3 to 0.70.1).
func NewServerCert(names []string, ips []netip.Addr) (certPEM, keyPEM []byte, err error) {
	if len(names)+len(ips) == 0 {
		return nil, nil, fmt.Errorf("making a server certificate: it needs a name or an address")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a server key: %w", err)
	}
	// Random: a client that keeps an old certificate must not take two of one
	// issuer for the same.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("making a server certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), // never 0 (RFC 5280 4.1.2.2)
		Subject:      pkix.Name{CommonName: "p2prc"},
		NotBefore:    validFrom,
		NotAfter:     validUntil,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     names,
	}
	for _, ip := range ips {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.Unmap().AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a server certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a server key: %w", err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: pkcs8})
	return certPEM, keyPEM, nil
}
