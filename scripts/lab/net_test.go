//go:build linux

package lab

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Addresses in the lab: the public segment is TEST-NET-3 (RFC 5737).
const (
	pubAddr = "203.0.113.10" // the public host
	natAddr = "203.0.113.21" // the router's outer side
	extAddr = "203.0.113.77" // a stranger
	lanAddr = "10.1.0.2"     // the host behind NAT
)

// lab is a small internet of its own:
//
//	pub 203.0.113.10    ext 203.0.113.77
//	       \               /
//	        +---- wan ----+          a switch
//	               |
//	       nat 203.0.113.21 / 10.1.0.1   masquerades, lets nothing in
//	               |
//	       lan 10.1.0.2
type lab struct {
	t                  *testing.T // the test or subtest that runs now; it fails when something does
	whole              *testing.T // what is started lives until this one ends
	prefix             string
	pub, nat, lan, ext host
}

// sub runs a subtest. It shares the lab, and what it starts, with the others.
func (l *lab) sub(name string, f func(t *testing.T)) {
	l.whole.Run(name, func(t *testing.T) {
		l.t = t
		defer func() { l.t = l.whole }()
		f(t)
	})
}

// host is one network namespace.
type host struct {
	lab  *lab
	name string
}

// router makes a host route for what is behind its in0, as a router at home does.
const router = `set -e
route() {
	ip netns exec $L$1 sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
	ip netns exec $L$1 nft -f - <<END
table ip lab {
	chain nat { type nat hook postrouting priority 100; oifname eth0 masquerade; }
	chain input { type filter hook input priority 0; policy accept; iifname eth0 ct state new drop; }
	chain faults { type filter hook forward priority -10; policy accept; }
	chain forward {
		type filter hook forward priority 0; policy drop
		iifname in0 accept
		ct state established,related accept
	}
}
END
}
`

// wires makes the lab whose namespaces begin with $L.
const wires = router + `
for h in wan pub nat lan ext; do ip netns add $L$h; ip -n $L$h link set lo up; done
ip -n ${L}wan link add br0 type bridge
ip -n ${L}wan link set br0 up
for h in pub nat ext; do
	ip link add eth0 netns $L$h type veth peer name $h netns ${L}wan
	ip -n ${L}wan link set $h master br0 up
done
ip link add in0 netns ${L}nat type veth peer name eth0 netns ${L}lan
ip -n ${L}pub addr add ` + pubAddr + `/24 dev eth0
ip -n ${L}nat addr add ` + natAddr + `/24 dev eth0
ip -n ${L}ext addr add ` + extAddr + `/24 dev eth0
ip -n ${L}nat addr add 10.1.0.1/24 dev in0
ip -n ${L}lan addr add ` + lanAddr + `/24 dev eth0
for h in pub nat lan ext; do ip -n $L$h link set eth0 up; done
ip -n ${L}nat link set in0 up
ip -n ${L}lan route add default via 10.1.0.1
route nat
ip netns exec ${L}pub nft -f - <<END
table ip lab {
	chain input { type filter hook input priority 0; policy accept; }
}
END
`

var (
	labs        atomic.Int32
	readSources sync.Once
)

// readModule looks at every directory of the module: go test then knows that
// the result depends on them, and does not show an old one for a new p2prc.
func readModule(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatalf("reading the module: %v", err)
	}
}

// newLab wires up a lab of the test's own. When the test ends no process may
// be left in it.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := wireUp(t, wires, "pub", "nat", "lan", "ext", "wan")
	l.pub, l.nat, l.lan, l.ext = host{l, "pub"}, host{l, "nat"}, host{l, "lan"}, host{l, "ext"}
	return l
}

// wireUp runs a script that makes these hosts.
func wireUp(t *testing.T, script string, hosts ...string) *lab {
	t.Helper()
	if noLab != "" {
		t.Skip(noLab)
	}
	readSources.Do(func() { readModule(t) })
	l := &lab{t: t, whole: t, prefix: fmt.Sprintf("lab%d-", labs.Add(1))}
	sh := exec.Command("sh", "-c", script)
	sh.Env = append(os.Environ(), "L="+l.prefix)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("wiring up the lab: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		for _, name := range hosts {
			host{l, name}.clear()
		}
	})
	return l
}

func (h host) namespace() string { return h.lab.prefix + h.name }

// clear ends what still runs on the host, which is a failure, and removes it.
func (h host) clear() {
	for _, pid := range h.pids() {
		h.lab.t.Errorf("%s: process %d (%s) was left behind", h.name, pid, comm(pid))
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	if out, err := exec.Command("ip", "netns", "delete", h.namespace()).CombinedOutput(); err != nil {
		h.lab.t.Errorf("removing host %s: %v: %s", h.name, err, out)
	}
}

// pids are the processes on the host, whoever started them.
func (h host) pids() []int {
	out, err := exec.Command("ip", "netns", "pids", h.namespace()).Output()
	if err != nil {
		h.lab.t.Errorf("listing the processes of host %s: %v", h.name, err)
	}
	var pids []int
	for _, word := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func comm(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "gone"
	}
	return strings.TrimSpace(string(b))
}

// inNamespace is the command line that runs a command on the host. The pid
// stays that of the command.
func (h host) inNamespace(command ...string) []string {
	return append([]string{"ip", "netns", "exec", h.namespace()}, command...)
}

// runLimit bounds a command that is expected to end by itself.
const runLimit = 60 * time.Second

// run runs a command on the host and returns what it wrote to stdout; the
// error has the end of stderr.
func (h host) run(command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	line := h.inNamespace(command...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s on %s: %w: %s", command[0], h.name, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}

// must is run for what cannot fail unless the lab is broken.
func (h host) must(command ...string) string {
	h.lab.t.Helper()
	out, err := h.run(command...)
	if err != nil {
		h.lab.t.Fatal(err)
	}
	return out
}
