package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func exampleReport() report {
	return report{
		Schema: schema, Runs: 3,
		Machine: machine{
			OS: "linux", Arch: "arm64", CPU: "Cortex-A72", CPUs: 4, Go: "go1.26.0",
			LoadBefore: "0.10 0.20 0.30", LoadAfter: "0.40 0.30 0.30",
		},
		Versions: map[string]string{"p2prc": "1.0.0", "frps": "0.70.1", "frpc": "0.70.1"},
		Results: []result{
			compare("start", "start", inSeconds, samples{0.75, 0.25, 0.5}, samples{0.125, 0.125, 0.125}).times(4).below(0.4),
			compare("rss", "memory", inBytes, samples{30e6}, nil).atMost(30e6),
			compare("speed", "throughput", inBits, samples{2e9}, samples{2e9}).share(0.8),
			{Name: "broken", What: "a case that broke", Error: "waiting for the port: not after 30s\nits log"},
		},
	}
}

func TestReport_table(t *testing.T) {
	var b strings.Builder
	if err := exampleReport().writeTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `linux/arm64, 4 cores (Cortex-A72), go1.26.0; p2prc 1.0.0, frps 0.70.1, frpc 0.70.1
median [min - max] of 3, in turns with bare frp; load 0.10 0.20 0.30 before, 0.40 0.30 0.30 after

WHAT               P2PRC                     BARE FRP                  RATIO  AIM              REACHED
start              500 ms [250 ms - 750 ms]  125 ms [125 ms - 125 ms]  4.00x  <= 4x, < 400 ms  yes, no
memory             30.0 MB                   -                         -      <= 30.0 MB       yes
throughput         2.00 Gbit/s               2.00 Gbit/s               1.00x  >= 0.8x          yes
a case that broke  not measured: waiting for the port: not after 30s
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestReport_json(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := exampleReport().writeJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type numbers struct {
		Median  float64   `json:"median"`
		Samples []float64 `json:"samples"`
	}
	var got struct {
		Results []struct {
			Name  string   `json:"name"`
			P2PRC *numbers `json:"p2prc"`
			Bare  *numbers `json:"bare"`
			Ratio float64  `json:"ratio"`
			Aims  []aim    `json:"aims"`
			Error string   `json:"error"`
		} `json:"results"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	start, rss, broken := got.Results[0], got.Results[1], got.Results[3]
	if diff := cmp.Diff([]float64{0.75, 0.25, 0.5}, start.P2PRC.Samples); diff != "" {
		t.Errorf("samples in another order (-want +got):\n%s", diff)
	}
	if start.Ratio != 4 || !start.Aims[0].Reached || start.Aims[1].Reached {
		t.Errorf("start: ratio %v, aims %+v", start.Ratio, start.Aims)
	}
	if rss.Bare != nil {
		t.Errorf("memory has a bare frp: %+v", rss.Bare)
	}
	if broken.P2PRC != nil || broken.Error == "" {
		t.Errorf("a case that broke: %+v", broken)
	}
}
