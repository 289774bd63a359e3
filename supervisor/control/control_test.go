package control_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"p2prc/supervisor/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type word struct {
	Text string `json:"text"`
}

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "control.sock")
}

func serve(t *testing.T, path string) (stop func()) {
	t.Helper()
	ln, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/echo", control.Handle(func(_ context.Context, in word) (word, error) {
		if in.Text == "" {
			return word{}, errors.New("nothing to echo")
		}
		return in, nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- control.Serve(ctx, ln, mux) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestCall(t *testing.T) {
	path := socket(t)
	stop := serve(t, path)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v: want 0600", st.Mode(), err)
	}
	got, err := control.Call[word, word](t.Context(), path, "/v1/echo", word{"hello"})
	if err != nil || got.Text != "hello" {
		t.Fatalf("got %q, %v", got.Text, err)
	}
	_, err = control.Call[word, word](t.Context(), path, "/v1/echo", word{})
	if r, ok := errors.AsType[*control.Refusal](err); !ok || r.Message != "nothing to echo" {
		t.Errorf("refused with %v", err)
	}
	_, err = control.Call[map[string]int, word](t.Context(), path, "/v1/echo", map[string]int{"foo": 1})
	if _, ok := errors.AsType[*control.Refusal](err); !ok {
		t.Errorf("an unknown field: %v", err)
	}
	stop()
	if _, err = control.Call[word, word](t.Context(), path, "/v1/echo", word{"x"}); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("after the stop: %v", err)
	}
}

func TestListen_staleSocket(t *testing.T) {
	path := socket(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, path)()
}

func TestListen_longPath(t *testing.T) {
	_, err := control.Listen("/" + strings.Repeat("x", 120))
	if err == nil || !strings.Contains(err.Error(), "shorter state directory") {
		t.Fatal(err)
	}
}
