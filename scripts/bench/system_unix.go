//go:build unix

package main

import "syscall"

// system is what a process needs of its environment for the system's sake.
func system() []string { return nil }

// apart gives a process a session of its own. Ctrl-C then reaches the bench
// alone, and Linux shares the processors out among sessions: p2prc gives its
// frps and frpc one each, as a service manager does, and a bare frp that shared
// one with the bench would have 40 % less latency on a busy machine.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
