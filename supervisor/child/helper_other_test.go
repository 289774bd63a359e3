//go:build !linux

package child_test

import "syscall"

const politeSignal = syscall.SIGTERM

func playP2PRC(string) {}
