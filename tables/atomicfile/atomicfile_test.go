package atomicfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"p2prc/tables/atomicfile"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWrite_replacesContentAndPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.json")
	for _, step := range []struct {
		put  func(string, []byte, fs.FileMode) error
		data string
		perm fs.FileMode
	}{
		{atomicfile.Write, "first", 0o644},
		{atomicfile.Write, "", 0o600},
		{atomicfile.Replace, "third, longer", 0o640},
		{atomicfile.Replace, "4", 0o600},
	} {
		if err := step.put(path, []byte(step.data), step.perm); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != step.data {
			t.Errorf("content = %q, want %q", got, step.data)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != step.perm {
			t.Errorf("permissions = %v, want %v", info.Mode().Perm(), step.perm)
		}
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"table.json"}) {
		t.Errorf("directory holds %q", got)
	}
}

func TestWrite_errorNamesTheFileAndKeepsTheOldOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "missing", "table.json")
	err := atomicfile.Write(path, []byte("x"), 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("err = %v, want %v", err, fs.ErrNotExist)
	}
	if want := "writing " + path + ": "; !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), ".table.json") {
		t.Errorf("err = %q, want %q and the cause without a temporary name", err, want)
	}

	// A directory cannot be replaced by a file: the failure after the data was
	// written must leave nothing behind.
	path = filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "child"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(path, []byte("x"), 0o600); err == nil {
		t.Fatal("a directory was replaced")
	}
	if got := names(t, dir); !slices.Equal(got, []string{"taken"}) {
		t.Errorf("directory holds %q", got)
	}
}

// A reader sees one of the contents that were written, never a mixture, a
// part or nothing.
func TestWrite_readersSeeWholeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.json")
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, 100_000+i%26) }
	if err := atomicfile.Write(path, content(0), 0o644); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			b, err := os.ReadFile(path)
			if err == nil && (len(b) == 0 || !bytes.Equal(b, content(int(b[0]-'a')))) {
				err = errors.New("a reader saw a file that nobody wrote")
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for i := range 100 {
		if err := atomicfile.Write(path, content(i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestSweep_removesOnlyItsOwnLeftovers(t *testing.T) {
	dir := t.TempDir()
	keep := []string{
		".table.json", ".table.json.corrupt-1", ".table.json12x", "table.json", "table.json123",
		".other.json123", ".table.jso123",
	}
	for _, name := range append(slices.Clone(keep), ".table.json7", ".table.json8273645238746523") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".table.json99"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Sweep(filepath.Join(dir, "table.json")); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(keep), ".table.json99")
	slices.Sort(want)
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("left: %q\nwant: %q", got, want)
	}
	if err := atomicfile.Sweep(filepath.Join(dir, "missing", "table.json")); err != nil {
		t.Errorf("sweeping a directory that is not there: %v", err)
	}
}
