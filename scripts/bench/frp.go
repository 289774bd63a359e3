package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// bareFRPS is an frps as a user starts it by hand.
type bareFRPS struct {
	*process
	port int
	conf string
}

// newFRPS prepares an frps with its defaults on loopback; extra is added to
// its file.
func (w *world) newFRPS(extra string) (*bareFRPS, error) {
	port, err := w.freePort()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(w.dir, fmt.Sprintf("frps-%d.toml", port))
	text := fmt.Sprintf("bindAddr = %q\nbindPort = %d\n%s", host, port, extra)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing frps.toml: %w", err)
	}
	return &bareFRPS{port: port, conf: conf}, nil
}

// startFRPS is an frps that runs.
func (w *world) startFRPS(ctx context.Context) (*bareFRPS, error) {
	f, err := w.newFRPS("")
	if err != nil {
		return nil, err
	}
	_, err = f.run(ctx, w)
	return f, err
}

// run starts it, again too, and says how long it took to accept.
func (f *bareFRPS) run(ctx context.Context, w *world) (took time.Duration, err error) {
	if f.process, err = w.start("frps", w.bin.frps, "-c", f.conf); err != nil {
		return 0, err
	}
	done, err := until(ctx, f.process, "frps to accept", func(ctx context.Context) bool { return accepts(ctx, f.port) })
	return done.Sub(f.began), err
}

// mapped is a service and the public port that a bare frpc gives it.
type mapped struct {
	proto         string // tcp or udp
	local, public int
}

// publish pairs the services with free public ports.
func (w *world) publish(proto string, locals ...int) ([]mapped, error) {
	maps := make([]mapped, len(locals))
	for i, local := range locals {
		public, err := w.freePort()
		if err != nil {
			return nil, err
		}
		maps[i] = mapped{proto, local, public}
	}
	return maps, nil
}

// frpcFile writes an frpc.toml as a user would.
func (w *world) frpcFile(server int, maps []mapped) (path string, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "serverAddr = %q\nserverPort = %d\n", host, server)
	for i, m := range maps {
		fmt.Fprintf(&b, "\n[[proxies]]\nname = \"m%04d\"\ntype = %q\nlocalIP = %q\nlocalPort = %d\nremotePort = %d\n",
			i, m.proto, host, m.local, m.public)
	}
	path = filepath.Join(w.dir, fmt.Sprintf("frpc-%d.toml", maps[0].public))
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("writing frpc.toml: %w", err)
	}
	return path, nil
}

// bareFRPC starts frpc and returns at once.
func (w *world) bareFRPC(conf string) (*process, error) {
	return w.start("frpc", w.bin.frpc, "-c", conf)
}

// allOpen waits until frpc has said of n mappings that they are open, in the
// words of 0.61 to 0.70.1. It is cheaper than to dial a thousand ports, each
// of which makes frp open a connection to the service, and so better for frp.
func allOpen(ctx context.Context, frpc *process, n int) (time.Time, error) {
	return until(ctx, frpc, fmt.Sprintf("%d mappings", n), func(context.Context) bool {
		return strings.Count(read(frpc.log), "start proxy success") >= n
	})
}

// ecCert writes a P-256 certificate and the lines of frps.toml that name it:
// with it frps need not make an RSA key, which is most of its start.
func (w *world) ecCert() (lines string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"frps"},
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", fmt.Errorf("making a certificate: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding a key: %w", err)
	}
	certFile, keyFile := filepath.Join(w.dir, "frps.crt"), filepath.Join(w.dir, "frps.key")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return "", fmt.Errorf("writing a certificate: %w", err)
		}
	}
	return fmt.Sprintf("transport.tls.certFile = %q\ntransport.tls.keyFile = %q\n", certFile, keyFile), nil
}
