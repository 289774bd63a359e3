//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lieLimit is how long a row may say up while nobody is served there: as long as
// it takes to find out that a proxy is gone, everywhere.
const lieLimit = 15*time.Second + busy

// watchOver has a host compare what the tables of these nodes say with what it
// finds itself, until the test ends, which then fails if a row said up for
// longer than lieLimit while nobody was served there.
func (in *internet) watchOver(from host, nodes ...*node) {
	in.t.Helper()
	args := []string{os.Getenv(envProgram)}
	for _, n := range nodes {
		args = append(args, n.dir)
	}
	p := from.startHelper("vigil", args...)
	in.vigils = append(in.vigils, p)
	in.whole.Cleanup(func() { checkVigil(in.whole, p) })
}

func checkVigil(t *testing.T, p *process) {
	if p.ended() {
		t.Errorf("%s ended: %s", p.name, p.stderr())
	}
	longest := map[string]time.Duration{}
	var worst time.Duration
	for line := range strings.Lines(p.stdout()) {
		took, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		d, err := time.ParseDuration(took)
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		longest[what], worst = max(longest[what], d), max(worst, d)
	}
	for what, d := range longest {
		if d > lieLimit {
			t.Errorf("%s: up for %s while nobody was served", what, seconds(d))
		}
	}
	t.Logf("%s: no row said up for longer than %s while nobody was served", p.name, seconds(worst))
}

// lie is a row that says up and leads nowhere, in the table of a directory.
type lie struct{ dir, row string }

// vigil PROGRAM DIR... reads the mapping tables there by p2prc, asks at each
// address of a row that is up, and prints how long each lie lasts.
func vigil(args []string) error {
	program, dirs := args[0], args[1:]
	since := map[lie]time.Time{}
	for tick := time.Tick(time.Second); ; <-tick {
		began := time.Now()
		ups := map[string][]row{} // by directory
		tried := map[string]*bool{}
		var wg sync.WaitGroup
		for _, dir := range dirs {
			cmd := exec.Command(program, "--view-rpm", "--json", "--state", "up", "--state-dir", dir)
			cmd.Env = []string{"CONFIGURATION_DIRECTORY=" + dir}
			out, err := cmd.Output()
			if err != nil {
				return fmt.Errorf("reading the table in %s: %w", dir, err)
			}
			var table struct {
				Rows []row `json:"reverse_proxy_mappings"`
			}
			if err := json.Unmarshal(out, &table); err != nil {
				return fmt.Errorf("reading the table in %s: %w", dir, err)
			}
			ups[dir] = table.Rows
			for _, r := range table.Rows {
				if tried[r.at()] == nil {
					ok := new(bool)
					tried[r.at()] = ok
					wg.Go(func() { *ok = r.serves() })
				}
			}
		}
		wg.Wait()
		still := map[lie]time.Time{}
		for dir, rows := range ups {
			for _, r := range rows {
				l := lie{dir, r.at() + " " + r.ServerName + "/" + r.Name}
				if *tried[r.at()] {
					continue
				}
				if still[l] = began; !since[l].IsZero() {
					still[l] = since[l]
				}
				fmt.Printf("%v %s in %s\n", time.Since(still[l]).Round(time.Millisecond), l.row, filepath.Base(filepath.Dir(dir)))
			}
		}
		since = still
	}
}

func (r row) at() string { return fmt.Sprintf("%s:%d", r.Address, r.BindPort) }

// serves asks as any stranger would. A server's own port says whose it is.
func (r row) serves() bool {
	path, want := "/", hello
	if r.Name == ownPort {
		path, want = "/server_info", r.NodeID
	}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + r.at() + path)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	return err == nil && strings.Contains(string(text), want)
}

// try ADDR ADDR asks a web service every 100 ms, at the first address and, if it
// does not answer within a second, at the second. It prints which one answered,
// or a 0.
func try(args []string) error {
	for tick := time.Tick(100 * time.Millisecond); ; <-tick {
		by := 0
		for i, addr := range args {
			client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Get("http://" + addr + "/")
			if err != nil {
				continue
			}
			text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
			resp.Body.Close()
			if err == nil && string(text) == hello {
				by = i + 1
				break
			}
		}
		fmt.Print(by)
	}
}
