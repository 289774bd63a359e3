//go:build linux || darwin

package control

import (
	"fmt"
	"net"
)

// onSocket calls f with the descriptor under conn.
func onSocket(conn net.Conn, f func(fd int) error) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%T is no unix socket", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}
