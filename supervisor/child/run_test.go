package child_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2prc/supervisor/child"
)

func TestReadRun_largeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "frps.run")
	if err := os.WriteFile(path, bytes.Repeat([]byte(" "), 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := child.ReadRun(path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("got %v", err)
	}
}

func FuzzDecodeRun(f *testing.F) {
	f.Add([]byte(`{"format":1,"name":"frps","pid":7,"start":"9","boot":"b","nonce":"n","admin":{"addr":"127.0.0.1:7400","user":"u","password":"p"},"extra":{"a":[1]}}`))
	f.Add([]byte(`{"format":1,"nonce":"n","pid":-1}`))
	f.Add([]byte(`{"format":2,"nonce":"n"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := child.DecodeRun(b)
		if err != nil {
			return
		}
		if r.PID < 0 || r.Nonce == "" || r.FileFormat != 1 {
			t.Errorf("accepted %s", b)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := child.DecodeRun(again); err != nil {
			t.Errorf("%s, written again: %v", b, err)
		}
	})
}

func TestSecrets_neverPrint(t *testing.T) {
	const secret = "p4ssw0rd"
	admin := child.Admin{Addr: netip.MustParseAddrPort("127.0.0.1:7400"), User: "u", Password: secret}
	extra := json.RawMessage(`"` + secret + `"`)
	values := map[string]any{
		"secret": admin.Password,
		"admin":  admin,
		"spec":   child.Spec{Name: "frps", Admin: admin, Extra: extra, Env: []string{"KEY=" + secret}},
		"run":    child.Run{Name: "frps", PID: 7, Admin: admin, Extra: extra, StartedAt: time.Unix(0, 0)},
	}
	for name, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
			fmt.Fprintf(&out, verb+"\n", []any{v})
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		if name != "admin" { // JSON is what the run file is made of
			slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		}
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprint([]byte(secret))} {
			if strings.Contains(out.String(), strings.Trim(form, "[]")) {
				t.Errorf("%s prints as\n%s", name, &out)
			}
		}
	}
}
