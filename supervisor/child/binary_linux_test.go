package child_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2prc/supervisor/child"
)

// program writes a shell script that stands in for frp.
func program(t *testing.T, dir, name, script string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

func TestLookup(t *testing.T) {
	good, bad := t.TempDir(), t.TempDir()
	frps := program(t, good, "frps", "exit", 0o755)
	program(t, bad, "frps", "exit", 0o644)
	onlyBad := program(t, bad, "frpc", "exit", 0o644)
	t.Setenv("PATH", bad+":"+good)
	t.Chdir(good)
	tests := []struct {
		name, want string
		err        error
		says       string
	}{
		{"frps", frps, nil, ""},
		{frps, frps, nil, ""},
		{"./frps", frps, nil, ""},
		{"frpc", "", child.ErrNotExecutable, onlyBad},
		{onlyBad, "", child.ErrNotExecutable, onlyBad},
		{"nope", "", child.ErrMissing, "nope: not found in PATH"},
		{"./nope", "", child.ErrMissing, "./nope: not found"},
		{good, "", child.ErrNotExecutable, good},
	}
	for _, tt := range tests {
		got, err := child.Lookup(tt.name)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	t.Run("only in the current directory", func(t *testing.T) {
		t.Setenv("PATH", ".")
		if got, err := child.Lookup("frps"); !errors.Is(err, child.ErrMissing) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestWritable(t *testing.T) {
	tests := []struct {
		name      string
		file, dir os.FileMode
		want      string
	}{
		{"fine", 0o755, 0o755, ""},
		{"file, everybody", 0o777, 0o755, "every local user can change"},
		{"file, group", 0o775, 0o755, "the group of"},
		{"directory, everybody", 0o755, 0o777, "every local user can change"},
		{"directory, sticky", 0o755, 0o777 | os.ModeSticky, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := program(t, dir, "frps", "exit", tt.file)
			if err := os.Chmod(dir, tt.dir); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			for _, p := range []string{path, link} {
				if got := child.Writable(p); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
					t.Errorf("got %q", got)
				}
			}
		})
	}
}

func TestVersionOf_failures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := []struct {
		name, script string
		want         error
		version      child.Version
	}{
		{"too old", "echo 0.52.3", child.ErrTooOld, child.Version{0, 52, 3}},
		{"prints nothing", "exit 0", child.ErrNotFRP, child.Version{}},
		{"garbage", "echo hello", child.ErrNotFRP, child.Version{}},
		{"fails", "echo 0.70.1; exit 3", child.ErrNotFRP, child.Version{}},
		{"prints for ever", "while :; do echo 0.70.1; done", child.ErrNotFRP, child.Version{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := program(t, dir, strings.ReplaceAll(tt.name, " ", "-"), tt.script, 0o755)
			v, err := child.VersionOf(t.Context(), path)
			e, ok := errors.AsType[*child.BinaryError](err)
			if !ok || e.Path != path || !errors.Is(err, tt.want) || v != tt.version {
				t.Errorf("got %v, %v", v, err)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		if _, err := child.VersionOf(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, child.ErrMissing) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("never answers", func(t *testing.T) {
		path := program(t, dir, "hangs", "exec sleep 100", 0o755)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := child.VersionOf(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestVersionCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	path := program(t, dir, "frps", "echo x >>"+asked+"; echo 0.70.1", 0o755)
	cache := child.VersionCache{File: filepath.Join(dir, "versions")}
	check := func(want string, times int) {
		t.Helper()
		v, err := cache.VersionOf(t.Context(), path)
		b, _ := os.ReadFile(asked)
		if v.String() != want || len(b) != 2*times {
			t.Errorf("got %v, %v after asking %d times, want %s after %d", v, err, len(b)/2, want, times)
		}
	}
	check("0.70.1", 1)
	check("0.70.1", 1)

	upgraded := program(t, dir, "frps.new", "echo x >>"+asked+"; echo 0.71.0", 0o755)
	if err := os.Rename(upgraded, path); err != nil {
		t.Fatal(err)
	}
	check("0.71.0", 2)

	if err := os.WriteFile(cache.File, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("0.71.0", 3)
	cache.File = filepath.Join(dir, "none", "versions")
	check("0.71.0", 4)
}
