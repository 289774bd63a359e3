package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// proxyNode is a `p2prc -s --reverse-proxy`.
type proxyNode struct {
	*process
	dir           string
	port, frpPort int
	extra         []string // arguments
}

// newProxy prepares a reverse proxy that never ran.
func (w *world) newProxy() (*proxyNode, error) {
	dir, err := w.fresh()
	if err != nil {
		return nil, err
	}
	n := &proxyNode{dir: dir}
	if n.port, err = w.freePort(); err != nil {
		return nil, err
	}
	n.frpPort, err = w.freePort()
	return n, err
}

// run starts it and says how long it took until its node port answered and its
// frps accepted.
func (n *proxyNode) run(ctx context.Context, w *world) (took time.Duration, err error) {
	args := append([]string{
		"-s", "--reverse-proxy", "--public-address", host, "--listen", at(n.port), "--frp-port", strconv.Itoa(n.frpPort),
		"--state-dir", n.dir, "--frps", w.bin.frps,
	}, n.extra...)
	if len(n.extra) == 0 {
		args = append(args, "--ports", pool)
	}
	n.process, err = w.start("p2prc-proxy", w.bin.p2prc, args...)
	if err != nil {
		return 0, err
	}
	n.orphans = func() { killChild(n.dir, "frps") }
	done, err := until(ctx, n.process, "the reverse proxy", func(ctx context.Context) bool {
		return n.answers(ctx) && accepts(ctx, n.frpPort)
	})
	return done.Sub(n.began), err
}

// answers asks the node port who it is. A connection that p2prc accepts before
// it serves is answered when it does.
func (n *proxyNode) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at(n.port)+"/server_info", nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// startProxy is a reverse proxy that runs.
func (w *world) startProxy(ctx context.Context) (*proxyNode, error) {
	n, err := w.newProxy()
	if err != nil {
		return nil, err
	}
	_, err = n.run(ctx, w)
	return n, err
}

// join is what admits a server.
func (n *proxyNode) join(ctx context.Context, w *world) (string, error) {
	cmd := exec.CommandContext(ctx, w.bin.p2prc, "--join-string", "--state-dir", n.dir)
	cmd.Env = w.environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking for the join string: %w: %s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// serverNode is a `p2prc -s --connect-reverse-proxy`.
type serverNode struct {
	*process
	dir   string
	proxy string // a join string, or the address of a proxy that knows the node
	maps  []string
	extra []string // arguments
	table *table
}

// newServer prepares a server that never ran.
func (w *world) newServer(proxy string, maps ...string) (*serverNode, error) {
	dir, err := w.fresh()
	if err != nil {
		return nil, err
	}
	return &serverNode{dir: dir, proxy: proxy, maps: maps, table: mappingTable(dir)}, nil
}

// run starts it and says how long it took until every mapping stood in its
// table on disk, up and proved since the start.
func (n *serverNode) run(ctx context.Context, w *world) (took time.Duration, err error) {
	args := append([]string{"-s", "--connect-reverse-proxy", n.proxy, "--state-dir", n.dir, "--frpc", w.bin.frpc}, n.extra...)
	for _, m := range n.maps {
		args = append(args, "--map", m)
	}
	if n.process, err = w.start("p2prc-server", w.bin.p2prc, args...); err != nil {
		return 0, err
	}
	n.orphans = func() { killChild(n.dir, "frpc") }
	done, err := until(ctx, n.process, "the rows", func(context.Context) bool {
		return len(n.table.proved(n.began)) == len(n.maps)
	})
	return done.Sub(n.began), err
}

// childPID is the frps or frpc that a p2prc keeps, by its run file.
func childPID(stateDir, name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(stateDir, "private", name+".run"))
	if err != nil {
		return 0, fmt.Errorf("looking for the %s of p2prc: %w", name, err)
	}
	var run struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(text, &run); err != nil || run.PID == 0 {
		return 0, fmt.Errorf("looking for the %s of p2prc: its run file has no process", name)
	}
	return run.PID, nil
}

// killChild ends what a killed p2prc left. The state directory in its command
// line tells it from a stranger with the same number.
func killChild(stateDir, name string) {
	pid, err := childPID(stateDir, name)
	if err != nil || !strings.Contains(read(fmt.Sprintf("/proc/%d/cmdline", pid)), stateDir) {
		return
	}
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill() // it has ended by itself
	}
}
