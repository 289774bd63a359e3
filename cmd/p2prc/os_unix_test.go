//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestInJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	sys := info.Sys().(*syscall.Stat_t)
	if !inJournal(f, fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)) {
		t.Error("stdout that systemd names is not the journal")
	}
	for _, stream := range []string{"", fmt.Sprintf("%d:%d", sys.Dev, sys.Ino+1)} {
		if inJournal(f, stream) {
			t.Errorf("a file counts as the journal %q", stream)
		}
	}
}
