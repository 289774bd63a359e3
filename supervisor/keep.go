package supervisor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"p2prc/tables"
	"p2prc/tables/atomicfile"
	"p2prc/tables/identity"
)

// loadSecret reads a random text from a file, or makes it.
func loadSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		s := rand.Text() + rand.Text()
		if err := atomicfile.Write(path, []byte(s+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("writing %s: %w", path, err)
		}
		return s, nil
	}
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(string(b))
	if len(s) < 26 { // rand.Text has 26 characters, 130 bits
		return "", fmt.Errorf("reading %s: it holds no secret; remove it and a new one is made", path)
	}
	return s, nil
}

// loadCert reads a certificate that p2prc made for itself, or makes it. It
// never expires, so that nodes can pin it.
func loadCert(dir *tables.Dir, name string, names []string, ips []netip.Addr) (certPEM, keyPEM []byte, err error) {
	certPath, keyPath := dir.Private(name+".crt"), dir.Private(name+".key")
	certPEM, err = os.ReadFile(certPath)
	if err == nil {
		keyPEM, err = os.ReadFile(keyPath)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return certPEM, keyPEM, err
	}
	certPEM, keyPEM, err = identity.NewServerCert(names, ips)
	if err != nil {
		return nil, nil, err
	}
	if err := atomicfile.Write(keyPath, keyPEM, 0o600); err != nil {
		return nil, nil, fmt.Errorf("writing %s: %w", keyPath, err)
	}
	if err := atomicfile.Write(certPath, certPEM, 0o600); err != nil {
		return nil, nil, fmt.Errorf("writing %s: %w", certPath, err)
	}
	return certPEM, keyPEM, nil
}

// loadToken is the token that admits nodes: the one given, which then stays,
// else the one in the state directory, else a new one.
func loadToken(dir *tables.Dir, given identity.Token) (identity.Token, error) {
	path := dir.Private("token")
	kept, err := identity.LoadToken(path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return identity.Token{}, err
	case given.Zero() && err == nil:
		return kept, nil
	case given.Zero():
		given = identity.NewToken()
	case err == nil && given.Equal(kept):
		return kept, nil
	}
	return given, given.Save(path)
}

// saveAddress keeps where the reverse proxy is reached, for a join string that
// is asked for while it does not run.
func saveAddress(dir *tables.Dir, addr netip.AddrPort) error {
	path := dir.Private("address")
	if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == addr.String() {
		return nil
	}
	if err := atomicfile.Write(path, []byte(addr.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func loadAddress(dir *tables.Dir) (netip.AddrPort, error) {
	b, err := os.ReadFile(dir.Private("address"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(strings.TrimSpace(string(b)))
}
