//go:build linux

package lab

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// helpers are the small services and clients that the test binary runs as on
// the hosts of the lab. Each gets an address and more.
var helpers = map[string]func(args []string) error{
	"web":    serveWeb,
	"secure": serveSecure,
	"sink":   serveSink,
	"echo":   serveEcho,
	"pulse":  serveTCPEcho,
	"send":   send,
	"ask":    askEcho,
	"count":  countEchoes,
	"hold":   hold,
	"try":    try,
	"vigil":  vigil,
}

// help runs a helper; the result is its exit code.
func help(name string, args []string) int {
	run, ok := helpers[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "lab: no helper %q\n", name)
		return 2
	}
	if err := run(args); err != nil {
		fmt.Fprintf(os.Stderr, "lab: %s: %v\n", name, err)
		return 1
	}
	return 0
}

// blob is n bytes that do not compress, the same ones every time.
func blob(n int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{}), n) }

// digestOf is the checksum of blob(n).
func digestOf(n int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, blob(n)) // neither end can fail
	return hex.EncodeToString(h.Sum(nil))
}

// hello is what the web service says.
const hello = "a service behind NAT\n"

// serveWeb ADDR answers GET / and GET /blob?n=BYTES.
func serveWeb(args []string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hello) })
	mux.HandleFunc("GET /blob", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.Copy(w, blob(n)) // the client counts
	})
	return http.ListenAndServe(args[0], mux)
}

// serveSecure ADDR DOMAIN FILE answers GET / over TLS, with a certificate of its
// own for the domain, which it writes to the file.
func serveSecure(args []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: args[1]}, DNSNames: args[1:2],
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(crand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[2], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644); err != nil {
		return err
	}
	srv := http.Server{
		Addr:      args[0],
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hello) }),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}},
	}
	return srv.ListenAndServeTLS("", "")
}

// serve hands each connection to a goroutine.
func serve(addr string, handle func(net.Conn)) error {
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			handle(conn)
		}()
	}
}

// serveSink ADDR reads a length and so many bytes, and answers with their
// checksum. An end of file would not do: frp does not pass on that one half of
// a connection was closed, it closes both (0.70.1, seen here).
func serveSink(args []string) error {
	return serve(args[0], func(conn net.Conn) {
		var n uint64
		h := sha256.New()
		if binary.Read(conn, binary.BigEndian, &n) != nil {
			return
		}
		if _, err := io.CopyN(h, conn, int64(n)); err == nil {
			_, _ = io.WriteString(conn, hex.EncodeToString(h.Sum(nil)))
		}
	})
}

// serveTCPEcho ADDR returns what it gets.
func serveTCPEcho(args []string) error {
	return serve(args[0], func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

// serveEcho ADDR returns each datagram.
func serveEcho(args []string) error {
	conn, err := net.ListenPacket("udp4", args[0])
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(buf[:n], from); err != nil {
			return err
		}
	}
}

// send ADDR BYTES writes a blob to a sink and prints the sink's checksum.
func send(args []string) error {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp4", args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := binary.Write(conn, binary.BigEndian, uint64(n)); err != nil {
		return err
	}
	if _, err := io.Copy(conn, blob(n)); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// askEcho ADDR COUNT sends datagrams one after the other and fails if one does
// not come back. A lost one is sent again, as any user of UDP does: the first
// through a fresh frp UDP proxy is answered after 0.5 s (0.70.1).
func askEcho(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp4", args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 2048)
	for i := range count {
		want := bytes.Repeat([]byte{byte(i)}, 1+i*13%1200)
		if err := askOnce(conn, want, buf); err != nil {
			return fmt.Errorf("datagram %d: %w", i, err)
		}
	}
	fmt.Println(count)
	return nil
}

func askOnce(conn net.Conn, want, buf []byte) (err error) {
	for range 8 {
		if _, err = conn.Write(want); err != nil {
			continue // refused so far
		}
		if err = conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		for {
			n, rerr := conn.Read(buf)
			if rerr != nil {
				err = rerr
				break
			}
			if bytes.Equal(buf[:n], want) {
				return nil
			} // else an answer to an earlier try
		}
	}
	return err
}

// countEchoes ADDR COUNT sends that many datagrams at once and prints how many
// come back within a second.
func countEchoes(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp4", args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	for range count {
		if _, err := conn.Write([]byte("echo")); err != nil {
			return err
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	back, buf := 0, make([]byte, 64)
	for ; back < count; back++ {
		if _, err := conn.Read(buf); err != nil {
			break // no more are coming
		}
	}
	fmt.Println(back)
	return nil
}

// hold ADDR keeps one connection to an echo busy until it is killed, or ends
// with an error when that connection breaks. It prints a dot per echo.
func hold(args []string) error {
	conn, err := net.Dial("tcp4", args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 4)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte("echo")); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			return err
		}
		fmt.Print(".")
	}
	return nil
}
