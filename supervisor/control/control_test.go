package control_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
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
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "control.sock")
	if runtime.GOOS != "linux" {
		if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "shorter state directory") {
			t.Fatal(err)
		}
		return
	}
	stop := serve(t, path)
	if got, err := control.Call[word, word](t.Context(), path, "/v1/echo", word{"far"}); err != nil || got.Text != "far" {
		t.Errorf("got %q, %v", got.Text, err)
	}
	stop()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left")
	}
}

// TestStream: each item comes when it is told, the end of the call ends the
// work, and the stop of the server ends the call.
func TestStream(t *testing.T) {
	path := socket(t)
	ln, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	mux := http.NewServeMux()
	mux.Handle("POST /v1/tell", control.Stream(func(ctx context.Context, in word, tell func(any) error) error {
		if err := tell(in); err != nil {
			return err
		}
		if in.Text == "no" {
			return &control.Refusal{Message: "it is no", Kind: "usage", Hint: "say yes"}
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- control.Serve(ctx, ln, mux) }()

	none := func(word) error { return nil }
	err = control.Follow(t.Context(), path, "/v1/tell", word{"no"}, none)
	if r, ok := errors.AsType[*control.Refusal](err); !ok || r.Kind != "usage" || r.Hint != "say yes" {
		t.Errorf("refused with %v", err)
	}
	enough := errors.New("enough")
	if err := control.Follow(t.Context(), path, "/v1/tell", word{"yes"}, func(w word) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("ended with %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("the work goes on without its caller")
	}
	err = control.Follow(t.Context(), path, "/v1/tell", word{"yes"}, func(word) error { cancel(); return nil })
	if r, ok := errors.AsType[*control.Refusal](err); !ok || r.Message != context.Canceled.Error() {
		t.Errorf("the server stopped: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
