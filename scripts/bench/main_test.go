package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"p2prc/admin/frptest"
)

func TestChoose(t *testing.T) {
	all, err := choose("")
	if err != nil || len(all) != len(cases) {
		t.Errorf("all: got %d cases, %v", len(all), err)
	}
	two, err := choose("idle, proxy")
	if err != nil || len(two) != 2 || two[0].name != "idle" || two[1].name != "proxy" {
		t.Errorf("two: got %v, %v", two, err)
	}
	if _, err := choose("proxy,speed"); err == nil || !strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("unknown: got %v", err)
	}
}

// One round of the cases that start and kill everything, against real frp.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a dozen processes")
	}
	path := filepath.Join(t.TempDir(), "bench.json")
	var table strings.Builder
	err := run(t.Context(), options{
		runs: 1, only: "proxy,recover", json: path,
		frps: frptest.Path(t, "frps", frptest.Version),
		frpc: frptest.Path(t, "frpc", frptest.Version),
	}, &table, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Versions map[string]string `json:"versions"`
		Results  []struct {
			Name  string  `json:"name"`
			Ratio float64 `json:"ratio"`
			Aims  []aim   `json:"aims"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Versions["frps"] != frptest.Version || got.Versions["frpc"] != frptest.Version {
		t.Errorf("versions: %v", got.Versions)
	}
	for _, r := range got.Results {
		if r.Ratio <= 0 || len(r.Aims) == 0 {
			t.Errorf("%s: ratio %v, aims %v", r.Name, r.Ratio, r.Aims)
		}
	}
	if want := 6; len(got.Results) != want {
		t.Errorf("%d results, want %d\n%s", len(got.Results), want, table.String())
	}
}
