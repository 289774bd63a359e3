//go:build linux

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// exitRefused is what p2prc exits with when the reverse proxy does not want it.
const exitRefused = 6

// bare is the reverse proxy's address without a pin or a token.
const bare = pubAddr

// refusedLimit bounds a refusal: a first contact takes at most 5 s.
const refusedLimit = 10 * time.Second

// TestAdmission goes through the ways in, and those that are none.
func TestAdmission(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.serveAll()
	proxy := l.reverseProxy()
	join := proxy.joinString()
	pin, token, ok := strings.Cut(join[strings.Index(join, "#")+1:], "/")
	if !ok {
		t.Fatalf("join string %q: no pin and token", join)
	}

	l.sub("knock", func(t *testing.T) {
		maps := mappings{"knocker", []string{ownPort, "web"}}
		server := l.server("knocker", bare, mapWeb)
		server.run(nil)
		var id string
		allow := regexp.MustCompile(`p2prc --allow (\S+)`)
		await(t, "the server says what to run", upLimit, func() error {
			if m := allow.FindStringSubmatch(server.stderr()); m != nil {
				id = m[1]
				return nil
			}
			return missing{"--allow ID", server.stderr()}
		})
		await(t, "the reverse proxy tells of the knock", upLimit, func() error {
			if log := proxy.stderr(); !strings.Contains(log, id) || !strings.Contains(log, "knocker") {
				return missing{id, log}
			}
			return nil
		})
		if rows := proxy.rows(); len(rows) != 0 {
			t.Errorf("rows before anybody was let in: %v", rows)
		}
		proxy.ask("--allow", id)
		t.Logf("every row up %s after --allow", seconds(maps.awaitUp(upLimit, time.Time{}, server, proxy)))
		ports := maps.ports(server)

		server.stop()
		server.run(nil) // the address alone is enough, for ever
		maps.awaitUp(upLimit, time.Time{}, server)
		maps.keep(t, ports, server)

		proxy.ask("--revoke", id)
		if code := server.exit(refusedLimit); code != exitRefused {
			t.Errorf("exit %d after --revoke, want %d", code, exitRefused)
		}
		if l.webAnswers(ports["web"]) == nil {
			t.Error("the service of a revoked node still answers")
		}
		for _, r := range proxy.rows() {
			if r.State == "up" {
				t.Errorf("the row of a revoked node: %v", r)
			}
		}
	})
	l.sub("token and bare address", func(t *testing.T) {
		maps := mappings{"tokened", []string{ownPort}}
		server := l.server("tokened", bare)
		server.run([]string{"P2PRC_TOKEN=" + token})
		maps.awaitUp(upLimit, time.Time{}, server, proxy)
		server.stop()
		server.run(nil)
		maps.awaitUp(upLimit, time.Time{}, server, proxy)
		server.secretsAreHidden(token)
	})
	l.sub("token file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		server := l.server("filed", bare)
		server.run(nil, "--token-file", file)
		mappings{"filed", []string{ownPort}}.awaitUp(upLimit, time.Time{}, server, proxy)
	})

	refusals := []struct {
		name, upstream string
		env            []string
		flags          []string
		says           []string
	}{
		{name: "nobody waits", upstream: bare, flags: []string{"--no-wait"}, says: []string{"--allow"}},
		{name: "wrong token", upstream: bare, env: []string{"P2PRC_TOKEN=" + flip(token)}, says: []string{"token"}},
		{name: "wrong token in the join string", upstream: join[:strings.LastIndex(join, "/")+1] + flip(token), says: []string{"token"}},
		{name: "wrong pin", upstream: strings.Replace(join, pin, otherPin(t, l), 1), says: []string{pin, "identity"}},
	}
	for _, r := range refusals {
		l.sub(r.name, func(t *testing.T) {
			server := l.server("stranger", r.upstream)
			server.run(r.env, r.flags...)
			if code := server.exit(refusedLimit); code != exitRefused {
				t.Errorf("exit %d, want %d", code, exitRefused)
			}
			for _, text := range r.says {
				if !strings.Contains(server.stderr(), text) {
					t.Error(missing{text, server.stderr()})
				}
			}
			if _, ok := proxy.row("stranger", ownPort); ok {
				t.Error("the reverse proxy has a row of it")
			}
		})
	}
	early := l.server("early", join)
	l.sub("a new token", func(t *testing.T) {
		maps := mappings{"early", []string{ownPort}}
		early.run(nil)
		maps.awaitUp(upLimit, time.Time{}, early, proxy)
		renewed := strings.TrimSpace(proxy.ask("--revoke-token"))
		if renewed == join || !strings.HasPrefix(renewed, join[:strings.LastIndex(join, "/")+1]) {
			t.Errorf("new join string %q, want %q with another token", renewed, join)
		}
		late := l.server("late", join)
		late.run(nil)
		if code := late.exit(refusedLimit); code != exitRefused {
			t.Errorf("the old token: exit %d, want %d", code, exitRefused)
		}
		late = l.server("renewed", renewed)
		late.run(nil)
		mappings{"renewed", []string{ownPort}}.awaitUp(upLimit, time.Time{}, late, proxy)

		early.stop() // it was let in, and stays so
		early.run(nil)
		maps.awaitUp(upLimit, time.Time{}, early, proxy)
	})
	l.sub("a new token, and the connection is lost", func(t *testing.T) {
		maps := mappings{"joiner", []string{ownPort}}
		server := l.server("joiner", proxy.joinString())
		server.run(nil)
		maps.awaitUp(upLimit, time.Time{}, server, proxy)
		proxy.ask("--revoke-token")
		proxy.leave()
		started := time.Now()
		proxy.run(nil)
		maps.awaitUp(upLimit, started, server, proxy)
	})
	l.sub("no reverse proxy there", func(t *testing.T) {
		server := l.server("lost", extAddr)
		start := time.Now()
		server.run(nil)
		if code := server.exit(refusedLimit); code != 5 {
			t.Errorf("exit %d, want 5", code)
		}
		t.Logf("said so after %s", seconds(time.Since(start)))
	})
}

// flip is another token of the same shape.
func flip(token string) string {
	last := byte('a')
	if token[0] == last {
		last = 'b'
	}
	return string(last) + token[1:]
}

// otherPin is the ID of another node: one that knocks in vain.
func otherPin(t *testing.T, l *lab) string {
	t.Helper()
	other := l.server("other", bare)
	other.run(nil, "--no-wait")
	other.exit(refusedLimit)
	m := regexp.MustCompile(`--allow (\S+)`).FindStringSubmatch(other.stderr())
	if m == nil {
		t.Fatal(fmt.Errorf("no node ID: %w", missing{"--allow ID", other.stderr()}))
	}
	return m[1]
}
