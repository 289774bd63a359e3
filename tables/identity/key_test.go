package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"p2prc/tables/identity"
)

func TestLoadOrCreate_keepsTheKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.key")
	first, err := identity.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 600", info.Mode().Perm())
	}
	second, err := identity.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if first.ID() != second.ID() {
		t.Errorf("a new key was made: %s, then %s", first.ID(), second.ID())
	}
	if err := identity.Verify(first.ID(), first.Public(), []byte("m"), second.Sign([]byte("m"))); err != nil {
		t.Error(err)
	}
}

func TestLoadOrCreate_neverReplaces(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, content, want string
	}{
		{"empty", "", "no PEM private key"},
		{"garbage", "\x00\xff", "no PEM private key"},
		{"other block", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "no PEM private key"},
		{"other kind", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "another kind"},
		{"torn", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der[:20]})), "reading "},
		{"huge", strings.Repeat("x", 17<<10), "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "node.key")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := identity.LoadOrCreate(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one with %q and the path", err, tt.want)
			}
			if _, corrupt := errors.AsType[*identity.CorruptKeyError](err); corrupt == (tt.name == "huge") {
				t.Errorf("%T: %v", err, err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != tt.content {
				t.Errorf("the file was changed to %q, %v", got, err)
			}
		})
	}
}

func TestLoadOrCreate_linkToNowhereIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.key")
	if err := os.Symlink(filepath.Join(t.TempDir(), "unmounted", "node.key"), path); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	if _, err := identity.LoadOrCreate(path); err == nil {
		t.Error("made a new key in the place of a link")
	}
	if _, err := os.Readlink(path); err != nil {
		t.Error("the link is gone:", err)
	}
}

func TestLoadOrCreate_refusesWhatOthersCanRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no mode bits on Windows")
	}
	path := filepath.Join(t.TempDir(), "node.key")
	if _, err := identity.LoadOrCreate(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := identity.LoadOrCreate(path)
		if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: error %v, want a chmod hint", mode, err)
		}
	}
}

func TestVerify(t *testing.T) {
	a, b := identity.NewKey(), identity.NewKey()
	msg := []byte("p2prc-record-v1 something")
	sig := a.Sign(msg)
	for _, tt := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"right", identity.Verify(a.ID(), a.Public(), msg, sig), true},
		{"other message", identity.Verify(a.ID(), a.Public(), msg[1:], sig), false},
		{"other key", identity.Verify(b.ID(), b.Public(), msg, sig), false},
		{"key of another node", identity.Verify(b.ID(), a.Public(), msg, sig), false},
		{"short key", identity.Verify(a.ID(), a.Public()[:31], msg, sig), false},
		{"no key", identity.Verify(a.ID(), nil, msg, sig), false},
		{"short signature", identity.Verify(a.ID(), a.Public(), msg, sig[:63]), false},
		{"no signature", identity.Verify(a.ID(), a.Public(), msg, nil), false},
	} {
		if (tt.err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
}

// printed is s in every way that a careless line of code prints it.
func printed(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	return b.String()
}

func TestSecretsDoNotPrint(t *testing.T) {
	token := identity.NewToken()
	path := filepath.Join(t.TempDir(), "node.key")
	key, err := identity.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(saved)
	seed := block.Bytes[len(block.Bytes)-32:]
	needles := []string{
		token.Reveal(), fmt.Sprintf("%x", token.Reveal()), fmt.Sprint([]byte(token.Reveal()))[1:40],
		fmt.Sprintf("%x", seed), strings.Trim(fmt.Sprint(seed), "[]"),
	}
	type inner struct {
		key   identity.Key
		token identity.Token
		join  identity.Join
	}
	join := identity.Join{Host: "h", Port: 1, Token: token}
	for _, v := range []any{
		key, token, join, &key, &token, &join,
		struct {
			K identity.Key
			T identity.Token
			J identity.Join
		}{key, token, join},
		inner{key, token, join},
		&inner{key, token, join},
		[]any{key, token, join},
		map[string]any{"k": key, "t": token},
	} {
		out := printed(v)
		for _, n := range needles {
			if strings.Contains(out, n) {
				t.Errorf("%T prints its secret:\n%s", v, out)
			}
		}
	}
	for _, v := range []any{key, token} {
		if got := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); got != "[hidden] [hidden] [hidden] [hidden]" {
			t.Errorf("%T prints %s", v, got)
		}
	}
}
