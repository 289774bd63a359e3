//go:build linux

package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// upLimit bounds the time from a start to rows that are up. Without faults it
// takes 1 s, most of which a fresh UDP proxy of frp needs.
const upLimit = 20 * time.Second

// transfer is how much is sent each way and compared.
const transfer = 100 << 20

// TestJob does what p2prc is for: a host behind NAT becomes reachable, and a
// stranger uses what it offers.
func TestJob(t *testing.T) {
	l := newLab(t)
	l.serveAll()
	l.lan.start("iperf3", nil, "iperf3", "-s", "-B", "127.0.0.1")
	proxy := l.reverseProxy()
	join := proxy.joinString()
	if want := "p2prc://" + pubAddr + ":8088#"; !strings.HasPrefix(join, want) {
		t.Fatalf("join string %q, want one that begins with %q", join, want)
	}
	if err := proxy.says(join); err != nil {
		t.Errorf("the command to join with is not printed: %v", err)
	}

	maps := mappings{"home", []string{ownPort, "web", "sink", "echo", "iperf"}}
	server := l.server("home", join, mapWeb, mapSink, mapEcho, "iperf=5201")
	server.run(nil)
	t.Logf("every row up at both ends after %s", seconds(maps.awaitUp(upLimit, time.Time{}, server, proxy)))
	ports := maps.ports(server)
	if err := server.says("reachable  " + public(ports[ownPort])); err != nil {
		t.Errorf("the user is not told: %v", err)
	}
	for name, port := range maps.ports(proxy) {
		if ports[name] != port {
			t.Errorf("%s has port %d at the reverse proxy, %d at the server", name, port, ports[name])
		}
	}

	l.sub("server_info", func(t *testing.T) {
		out, err := l.curl("http://" + public(ports[ownPort]) + "/server_info")
		if err != nil {
			t.Fatal(err)
		}
		var info struct {
			Name   string `json:"name"`
			NodeID string `json:"node_id"`
		}
		if err := json.Unmarshal([]byte(out), &info); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		own, _ := server.row("home", ownPort)
		if info.Name != "home" || info.NodeID == "" || info.NodeID != own.NodeID {
			t.Errorf("got %s, want the node of %v, %s", out, own, own.NodeID)
		}
	})
	l.sub("one number on both ends", func(t *testing.T) {
		own, _ := server.row("home", ownPort)
		if want := fmt.Sprintf("127.0.0.1:%d", own.BindPort); own.LocalAddress != want {
			t.Errorf("local address %s, want %s", own.LocalAddress, want)
		}
	})
	l.sub("web", func(t *testing.T) {
		if err := l.webAnswers(ports["web"]); err != nil {
			t.Error(err)
		}
	})
	l.sub("download", func(t *testing.T) {
		start := time.Now()
		file := filepath.Join(t.TempDir(), "blob")
		if _, err := l.curl(fmt.Sprintf("http://%s/blob?n=%d", public(ports["web"]), transfer), "--max-time", "60", "-o", file); err != nil {
			t.Fatal(err)
		}
		rate(t, start)
		compare(t, fileDigest(t, file))
	})
	l.sub("upload", func(t *testing.T) {
		start := time.Now()
		got, err := l.ext.runHelper("send", public(ports["sink"]), strconv.Itoa(transfer))
		if err != nil {
			t.Fatal(err)
		}
		rate(t, start)
		compare(t, got)
	})
	l.sub("datagrams", func(t *testing.T) {
		if out, err := l.ext.runHelper("ask", public(ports["echo"]), "200"); err != nil {
			t.Errorf("%v after %s", err, out)
		}
	})
	l.sub("iperf3", func(t *testing.T) { l.iperf(t, ports["iperf"]) })
	l.sub("ip table", func(t *testing.T) {
		own, _ := server.row("home", ownPort)
		for _, n := range []*node{server, proxy} {
			if err := n.ipTableHas(own); err != nil {
				t.Errorf("%s: %v", n.name, err)
			}
		}
	})
	l.sub("reverse proxies", func(t *testing.T) {
		var table struct {
			Rows []struct {
				ServerName string   `json:"server_name"`
				Address    string   `json:"address"`
				LatencyMS  *float64 `json:"latency_ms"`
				State      string   `json:"state"`
				FRPVersion string   `json:"frp_version"`
			} `json:"reverse_proxy_servers"`
		}
		server.json(&table, "--view-rps", "--json")
		if len(table.Rows) != 1 {
			t.Fatalf("%d rows, want one: %+v", len(table.Rows), table)
		}
		if r := table.Rows[0]; r.ServerName != "edge" || r.Address != pubAddr || r.LatencyMS == nil || r.State != "up" || r.FRPVersion == "" {
			t.Errorf("got %+v", r)
		}
	})
	l.sub("secrets", func(t *testing.T) {
		token := join[strings.LastIndex(join, "/")+1:]
		proxy.secretsAreHidden(token)
		server.secretsAreHidden(token)
	})
	l.sub("stop", func(t *testing.T) {
		server.stop()
		await(t, "the rows are withdrawn at the reverse proxy", 10*time.Second, func() error {
			for _, r := range proxy.rows() {
				if r.State == "up" {
					return fmt.Errorf("%v", r)
				}
			}
			return nil
		})
		if l.webAnswers(ports["web"]) == nil {
			t.Error("the service still answers")
		}
	})
	l.sub("the same ports again", func(t *testing.T) {
		server.run(nil)
		maps.awaitUp(upLimit, time.Time{}, server, proxy)
		maps.keep(t, ports, server)
	})
}

// keep checks that every mapping has the port it had.
func (m mappings) keep(t *testing.T, want map[string]uint16, n *node) {
	t.Helper()
	got := m.ports(n)
	for _, name := range m.names {
		if got[name] != want[name] {
			t.Errorf("%s has port %d at %s, want %d as before", name, got[name], n.name, want[name])
		}
	}
}

func rate(t *testing.T, start time.Time) {
	took := time.Since(start)
	t.Logf("%d MB in %s: %.0f MB/s", transfer>>20, seconds(took), transfer/1e6/took.Seconds())
}

func compare(t *testing.T, digest string) {
	t.Helper()
	if want := digestOf(transfer); digest != want {
		t.Errorf("checksum %q, want %s", digest, want)
	}
}

func fileDigest(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// iperf measures both directions for two seconds each.
func (l *lab) iperf(t *testing.T, port uint16) {
	for _, direction := range []string{"up", "down"} {
		args := []string{"iperf3", "-J", "-t", "2", "-c", pubAddr, "-p", strconv.Itoa(int(port))}
		if direction == "down" {
			args = append(args, "-R")
		}
		out, err := l.ext.run(args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var report struct {
			End struct {
				Received struct {
					Bits float64 `json:"bits_per_second"`
				} `json:"sum_received"`
			} `json:"end"`
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatal(err)
		}
		if report.End.Received.Bits == 0 {
			t.Errorf("%s: nothing was received", direction)
		}
		t.Logf("%s: %.2f Gbit/s", direction, report.End.Received.Bits/1e9)
	}
}

// ipTableHas looks for the server's own row in ip_table.json, in the format of
// today's P2PRC.
func (n *node) ipTableHas(own row) error {
	var table struct {
		Rows []struct {
			Name                 string
			IPV4                 string
			Latency              int64
			ServerPort           string
			NAT                  bool
			EscapeImplementation string
			ProxyServer          bool
		} `json:"ip_address"`
	}
	if err := json.Unmarshal([]byte(read(filepath.Join(n.dir, "ip_table.json"))), &table); err != nil {
		return err
	}
	for _, r := range table.Rows {
		if r.Name != own.ServerName {
			continue
		}
		if r.IPV4 != pubAddr || r.ServerPort != strconv.Itoa(int(own.BindPort)) || !r.NAT || r.EscapeImplementation != "FRP" || r.ProxyServer {
			return fmt.Errorf("ip_table.json: %+v, want %v behind NAT, by FRP", r, own)
		}
		return nil
	}
	return errors.New("ip_table.json has no row of " + own.ServerName)
}
