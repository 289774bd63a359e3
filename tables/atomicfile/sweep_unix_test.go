//go:build !windows

package atomicfile_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/renameio/v2"

	"p2prc/tables/atomicfile"
)

// Sweep relies on how renameio names its temporary files.
func TestSweep_knowsTheNamesOfRenameio(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "table.json")
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := os.Stat(f.Name()); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Sweep(path); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, nil) {
		t.Errorf("left: %q", got)
	}
}
