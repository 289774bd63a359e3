package child_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"p2prc/admin/frptest"
	"p2prc/supervisor/child"
)

// frpSpec describes a real frps or frpc with this config and an admin API.
func frpSpec(t *testing.T, name, version, config string) child.Spec {
	t.Helper()
	dir := t.TempDir()
	admin := child.Admin{
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), frptest.Port(t)),
		User: "u", Password: "p4ss",
	}
	config += fmt.Sprintf("\nwebServer.port=%d\nwebServer.user=%q\nwebServer.password=%q\n",
		admin.Addr.Port(), admin.User, string(admin.Password))
	file := filepath.Join(dir, name+".toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return child.Spec{
		Name: name, Path: frptest.Path(t, name, version), Args: []string{"-c", file},
		Dir: dir, Env: []string{mark(), testKey + "=" + dir},
		RunFile: filepath.Join(dir, name+".run"), LogFile: filepath.Join(dir, name+".log"),
		Admin: admin, Grace: 10 * time.Second,
	}
}

func frpsSpec(t *testing.T, version string) (child.Spec, uint16) {
	t.Helper()
	port := frptest.Port(t)
	return frpSpec(t, "frps", version, fmt.Sprintf("bindAddr=\"127.0.0.1\"\nbindPort=%d\nauth.token=\"good\"", port)), port
}

func frpcSpec(t *testing.T, version string, server uint16, more string) child.Spec {
	t.Helper()
	return frpSpec(t, "frpc", version, fmt.Sprintf("serverAddr=\"127.0.0.1\"\nserverPort=%d\n%s", server, more))
}

// call asks the child's admin API, as room admin does it for p2prc.
func call(ctx context.Context, method string, at child.Admin, path string) error {
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://%s%s", at.Addr, path), nil)
	if err != nil {
		return err
	}
	basic := base64.StdEncoding.EncodeToString([]byte(at.User + ":" + string(at.Password)))
	req.Header.Set("Authorization", "Basic "+basic)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func awaitAdmin(t *testing.T, s child.Spec) {
	t.Helper()
	await(t, s.Name+"'s admin API", func() bool {
		return call(t.Context(), http.MethodGet, s.Admin, "/healthz") == nil
	})
}

// awaitLogin: before its first login frpc answers /api/stop by failing.
func awaitLogin(t *testing.T, s child.Spec) {
	t.Helper()
	await(t, "frpc's login", func() bool {
		b, err := os.ReadFile(s.LogFile)
		return err == nil && strings.Contains(string(b), "login to server success")
	})
}

func TestFRP_lifecycle(t *testing.T) {
	t.Parallel()
	for _, version := range frptest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			server, port := frpsSpec(t, version)
			pid := startedByOther(t, server)
			awaitAdmin(t, server)
			frps := adopt(t, server)
			if frps.PID() != pid || frps.Upgraded() {
				t.Errorf("adopted %v, upgraded %v, want pid %d", frps, frps.Upgraded(), pid)
			}

			client := frpcSpec(t, version, port, `auth.token="good"`)
			client.Stop = func(ctx context.Context, at child.Admin) error {
				return call(ctx, http.MethodPost, at, "/api/stop")
			}
			for _, how := range []struct {
				name  string
				start func() *child.Process
			}{
				{"own", func() *child.Process { return start(t, client) }},
				{"adopted", func() *child.Process { startedByOther(t, client); return adopt(t, client) }},
			} {
				frpc := how.start()
				awaitLogin(t, client)
				if err := frpc.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				if e := awaitDone(t, frpc); e.Known && e.Code != 0 || e.Ran > client.Grace {
					t.Errorf("%s frpc: %v after %v: not stopped by its API", how.name, e, e.Ran)
				}
			}

			if err := frps.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := alive(server); len(left) > 0 {
				t.Errorf("frps is still there: %v", left)
			}
		})
	}
}

// An upgrade of frp replaces the binary under the running child: the child is
// still ours, and known to be of an older make.
func TestFRP_upgraded(t *testing.T) {
	t.Parallel()
	s, _ := frpsSpec(t, "0.65.0")
	installed := filepath.Join(s.Dir, "frps")
	install(t, installed, s.Path)
	older := s.Path
	s.Path = installed
	startedByOther(t, s)
	awaitAdmin(t, s)

	tests := []struct {
		name   string
		change func()
		want   bool
	}{
		{"as started", func() {}, false},
		{"missing for a moment", func() { remove(t, installed) }, false},
		{"reinstalled", func() { install(t, installed, older) }, false},
		{"upgraded", func() { install(t, installed, frptest.Path(t, "frps", "0.70.1")) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.change()
			p, _, err := child.Adopt(s)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Release()
			if got := p.Upgraded(); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
	adopt(t, s) // and kill
}

// install puts a copy in place by rename, as package managers do.
func install(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", b, 0o755)
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestFRP_killed(t *testing.T) {
	t.Parallel()
	s, _ := frpsSpec(t, frptest.Version)
	p := start(t, s)
	awaitAdmin(t, s)
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if v := child.Classify(awaitDone(t, p)); v.Kind != child.Killed || v.Permanent {
		t.Errorf("got %+v", v)
	}
	p = start(t, s) // its ports are free again at once
	awaitAdmin(t, s)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}
