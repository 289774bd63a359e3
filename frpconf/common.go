package frpconf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Web is where frp's own admin API listens.
type Web struct {
	Addr     netip.AddrPort // loopback
	User     string
	Password Secret
}

// What follows is the part of the two files that frps and frpc share.

type authSection struct {
	Method           string   `toml:"method"`
	Token            string   `toml:"token"`
	AdditionalScopes []string `toml:"additionalScopes"`
}

// auth is the same on both ends: with the scopes on one end only, the proxies
// run and their connections fail (0.61.0-0.70.1).
func auth(token Secret) authSection {
	return authSection{
		Method:           "token",
		Token:            string(token),
		AdditionalScopes: []string{"HeartBeats", "NewWorkConns"},
	}
}

type webSection struct {
	Addr     string `toml:"addr"`
	Port     uint16 `toml:"port"`
	User     string `toml:"user"`
	Password string `toml:"password"`
}

func (w Web) section() webSection {
	return webSection{
		Addr:     w.Addr.Addr().String(),
		Port:     w.Addr.Port(),
		User:     w.User,
		Password: string(w.Password),
	}
}

func (w Web) check() error {
	switch {
	case !w.Addr.Addr().IsLoopback() || w.Addr.Port() == 0:
		return fmt.Errorf("the admin API's address is %v, not a port on loopback", w.Addr)
	case w.User == "" || w.Password == "":
		return errors.New("the admin API has no user or no password")
	case strings.Contains(w.User, ":"): // it ends the user in HTTP's basic authentication
		return errors.New("the admin API's user has a colon")
	}
	return checkTexts(
		text{"the admin API's user", w.User},
		text{"the admin API's password", string(w.Password)},
	)
}

type logSection struct {
	To                string `toml:"to"`
	Level             string `toml:"level"`
	DisablePrintColor bool   `toml:"disablePrintColor"` // frp colours files, too
}

func logs(level string) logSection {
	if level == "" {
		level = defaultLogLevel
	}
	return logSection{To: "console", Level: level, DisablePrintColor: true}
}

const defaultLogLevel = "warn"

func checkLogLevel(level string) error {
	switch level {
	case "", "trace", "debug", "info", "warn", "error":
		return nil
	}
	return fmt.Errorf("log level %q is not one of frp's", level)
}

// maxKeepalive keeps a silent tunnel well below the timeouts of NAT routers.
const maxKeepalive = 5 * time.Minute

// checkKeepalive: frp counts whole seconds, and reads 0 as its default of 30.
func checkKeepalive(d time.Duration) error {
	if d < time.Second || d > maxKeepalive || d%time.Second != 0 {
		return fmt.Errorf("keepalive is %v, not whole seconds from 1s to %v", d, maxKeepalive)
	}
	return nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
