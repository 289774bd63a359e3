package proof

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"p2prc/tables"
)

// Where frps tells mappings apart by domain, a canary has a domain of its own.
// HTTP carries the nonce in the path of a request and the answer in its body:
//
//	GET /canary/NONCE  ->  HMAC-SHA256(secret, nonce), both in hex
//
// Of HTTPS frps passes on what it cannot open: question and answer are within TLS,
// in which the node shows its key.
const canaryPath = "/canary/"

// maxAnswer bounds an answer with its header, in bytes: frps's page for a domain
// that it does not know has 500.
const maxAnswer = 16 << 10

// ServeHTTP answers GET /canary/NONCE, and nothing else.
func (c *Canary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, ok := strings.CutPrefix(r.URL.Path, canaryPath)
	nonce, err := hex.DecodeString(text)
	if !ok || err != nil || len(nonce) != nonceLen || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, hex.EncodeToString(c.sum(nonce))) // who does not wait for it does not get it
}

// askHTTP puts a canary's question to the domain, and waits for the right answer.
func askHTTP(conn net.Conn, domain string, nonce []byte, right func([]byte) bool) error {
	if _, err := io.WriteString(conn, "GET "+canaryPath+hex.EncodeToString(nonce)+" HTTP/1.1\r\nHost: "+domain+"\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxAnswer)), nil)
	if err != nil {
		return orNoHTTP(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return errNoDomain
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 2*answerLen+1))
	if err != nil {
		return orNoHTTP(err)
	}
	got, err := hex.DecodeString(string(body))
	if err != nil || len(got) != answerLen || resp.StatusCode != http.StatusOK || !right(got) {
		return ErrStranger
	}
	return nil
}

// errNoDomain is what a 404 means: frps has nobody for the domain.
var errNoDomain = errors.New("nobody answers for the domain there")

// askTLS asks within TLS, after a handshake for the domain that conf names with
// whom conf wants there.
func askTLS(ctx context.Context, conn net.Conn, conf *tls.Config, q []byte, right func([]byte) bool) error {
	tc := tls.Client(conn, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		return orCut(err)
	}
	return askStream(tc, q, right)
}

// converse has a conversation at the address, for exchangeWait at most.
func converse(ctx context.Context, addr netip.AddrPort, talk func(context.Context, net.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeWait)
	defer cancel()
	conn, err := dial(ctx, tables.TCP, addr)
	if err != nil {
		return explain(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(exchangeWait)); err != nil {
		return explain(ctx, err)
	}
	if err := talk(ctx, conn); err != nil {
		return explain(ctx, err)
	}
	return nil
}

// orNoHTTP keeps what the network did. All else is what somebody said who speaks
// no HTTP, and goes into no reason: net/http quotes it at length.
func orNoHTTP(err error) error {
	err = orCut(err)
	if _, network := errors.AsType[net.Error](err); network || errors.Is(err, io.EOF) {
		return err
	}
	return ErrStranger
}

// orCut: an end in the middle is an end.
func orCut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}
