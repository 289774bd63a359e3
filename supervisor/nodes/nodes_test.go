package nodes_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2prc/supervisor/nodes"
	"p2prc/tables/identity"
)

func id(n int) identity.ID { return identity.IDOf([]byte(fmt.Sprintf("%032d", n))) }

func load(t *testing.T, path string, now func() time.Time) *nodes.Registry {
	t.Helper()
	r, err := nodes.Load(path, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegistry_survivesRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	r := load(t, path, nil)
	if r.Admitted(id(1)) {
		t.Fatal("a stranger is admitted")
	}
	n, err := r.Enrol(id(1), "one", nodes.ByToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Enrol(id(2), "two", nodes.ByAllow); err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(id(2)); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v: want 0600", st.Mode(), err)
	}

	r = load(t, path, nil)
	if !r.Check(id(1), string(n.Credential)) {
		t.Error("the credential is forgotten")
	}
	if r.Check(id(1), "") || r.Check(id(1), string(n.Credential)+"x") || r.Check(id(3), "") {
		t.Error("a wrong credential passes")
	}
	if r.Admitted(id(2)) {
		t.Error("a revoked node is admitted after a restart")
	}
	if err := r.Revoke(id(3)); !errors.Is(err, nodes.ErrUnknown) {
		t.Errorf("revoking a stranger: %v", err)
	}
}

func TestRegistry_revokedNodeGetsNewCredential(t *testing.T) {
	r := load(t, filepath.Join(t.TempDir(), "nodes.json"), nil)
	before, err := r.Enrol(id(1), "one", nodes.ByToken)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(id(1)); err != nil {
		t.Fatal(err)
	}
	after, err := r.Enrol(id(1), "one", nodes.ByAllow)
	if err != nil {
		t.Fatal(err)
	}
	if before.Credential == after.Credential || r.Check(id(1), string(before.Credential)) {
		t.Error("the revoked credential works again")
	}
}

func TestRegistry_fileOthersWrote(t *testing.T) {
	for name, text := range map[string]string{
		"garbage":      "hello",
		"truncated":    `{"format":1,"nodes":[{"id":`,
		"newer format": `{"format":2,"nodes":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "nodes.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := nodes.Load(path, nil); err == nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want an error that names the file", err)
			}
		})
	}
}

func TestRegistry_failedWriteChangesNothing(t *testing.T) {
	r := load(t, filepath.Join(t.TempDir(), "missing", "nodes.json"), nil)
	if _, err := r.Enrol(id(1), "one", nodes.ByToken); err == nil {
		t.Fatal("enrolled into a directory that is not there")
	}
	if r.Admitted(id(1)) {
		t.Error("admitted although nothing was written")
	}
}

func TestKnock_bounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := load(t, filepath.Join(t.TempDir(), "nodes.json"), func() time.Time { return now })
	from := netip.MustParseAddr("198.51.100.7")
	for i := range 100 {
		if !r.Knock(id(i), "n", from) {
			t.Fatalf("knock %d is no news", i)
		}
	}
	if r.Knock(id(99), "n", from) {
		t.Error("the same knock is news again")
	}
	got := r.Knocks()
	if len(got) != 32 || got[0].ID != id(68) {
		t.Fatalf("%d knocks from %v on, want the last 32", len(got), got[0].ID)
	}
	if n, err := r.Enrol(id(99), "", nodes.ByAllow); err != nil || n.Name != "n" {
		t.Fatalf("enrolled as %q, %v: want the name it knocked with", n.Name, err)
	}
	if len(r.Knocks()) != 31 {
		t.Error("an admitted node still knocks")
	}
	now = now.Add(11 * time.Minute)
	if n := len(r.Knocks()); n != 0 {
		t.Errorf("%d knocks are older than ten minutes", n)
	}
}
