//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sshUser is who logs in. To a real sshd that runs as root the user namespace
// has one user too few (it needs another to drop its rights to), so it runs as
// this one, of which it reads in a passwd file of the test's own.
const sshUser = "lab"

// asSSHUser runs what follows as sshUser with that passwd file.
const asSSHUser = `mount --bind "$0" /etc/passwd && exec unshare --user --map-user=1000 --map-group=1000 "$@"`

// TestSSH logs in to the host behind NAT, the use that most people have for
// p2prc.
func TestSSH(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	sshd, err := exec.LookPath("sshd") // by its whole path, or it does not start
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		l.lan.must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(key))
	}
	write := func(name, text string) {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("passwd", fmt.Sprintf("root:x:0:0::/:/bin/sh\n%s:x:1000:1000::%s:/bin/sh\n", sshUser, dir))
	write("sshd_config", fmt.Sprintf(`ListenAddress 127.0.0.1:2222
HostKey %s
AuthorizedKeysFile %s
StrictModes no
PidFile none
`, file("host"), file("user.pub")))
	hostKey := strings.Join(strings.Fields(read(file("host.pub")))[:2], " ")
	l.lan.start("sshd", nil, "unshare", "--mount", "sh", "-c", asSSHUser, file("passwd"), sshd, "-D", "-e", "-f", file("sshd_config"))

	proxy := l.reverseProxy()
	maps := mappings{"home", []string{ownPort, "ssh"}}
	server := l.server("home", proxy.joinString(), "ssh=2222")
	server.run(nil)
	maps.awaitUp(upLimit, time.Time{}, server, proxy)
	port := maps.ports(server)["ssh"]

	write("known_hosts", fmt.Sprintf("[%s]:%d %s\n", pubAddr, port, hostKey))
	out, err := l.ext.run("ssh", "-F", "none", "-p", fmt.Sprint(port), "-i", file("user"), "-o", "IdentitiesOnly=yes",
		"-o", "BatchMode=yes", "-o", "UserKnownHostsFile="+file("known_hosts"), sshUser+"@"+pubAddr, "ip -4 -o addr show eth0")
	if err != nil || !strings.Contains(out, lanAddr) {
		t.Errorf("logging in to the host behind NAT: %v, got %q, want its address %s", err, out, lanAddr)
	}
}
