package main

import (
	"os"
	"syscall"
)

// system is what a process needs of its environment for the system's sake:
// without it no socket opens on Windows.
func system() []string { return []string{"SYSTEMROOT=" + os.Getenv("SYSTEMROOT")} }

// apart keeps the bench's Ctrl-C from a process.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
