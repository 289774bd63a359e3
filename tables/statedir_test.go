//go:build !windows

package tables

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestOpenDir_makesItWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	path := filepath.Join(t.TempDir(), "a", "state")
	dir := openDir(t, path)
	for file, want := range map[string]fs.FileMode{path: 0o755, dir.Private(): 0o700, filepath.Join(path, "lock"): 0o644} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", file, got, want)
		}
	}
	if got, want := dir.Private("frp", "frps.toml"), filepath.Join(path, "private", "frp", "frps.toml"); got != want {
		t.Errorf("Private = %s, want %s", got, want)
	}
}

func TestOpenDir_refusesWhatOthersCouldReadOrExchange(t *testing.T) {
	for _, tt := range []struct {
		name string
		path string // below the state directory
		mode fs.FileMode
		hint string
	}{
		{"private open to the group", "private", 0o750, "chmod 0700"},
		{"private open to all", "private", 0o777, "chmod 0700"},
		{"private that others may enter", "private", 0o701, "chmod 0700"},
		{"directory anyone may write to", ".", 0o777, "chmod 0775"},
		{"directory the owner may not write to", ".", 0o555, "chmod 0755"},
		{"private the owner may not write to", "private", 0o500, "chmod 0700"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "private"), 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, tt.path)
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(path, 0o700)
			got, err := OpenDir(dir)
			u, ok := errors.AsType[*UnusableError](err)
			if !ok {
				t.Fatalf("opened: %v, %v", got, err)
			}
			if u.Path != path || u.Hint != tt.hint+" "+path {
				t.Errorf("path %q, hint %q", u.Path, u.Hint)
			}
			if !strings.Contains(err.Error(), fmt.Sprintf("%04o", tt.mode)) {
				t.Errorf("%q does not name the mode", err)
			}
			if _, held, _ := Holder(dir); held {
				t.Error("the lock was kept")
			}
		})
	}
}

func TestOpenDir_refusesAnothersDirectory(t *testing.T) {
	dir := "/" // root's, for everybody else
	if os.Geteuid() == 0 {
		dir = t.TempDir()
		if err := os.Chown(dir, 65534, -1); err != nil {
			t.Fatal(err)
		}
	}
	_, err := OpenDir(dir)
	if u, ok := errors.AsType[*UnusableError](err); !ok || u.Path != dir || !strings.Contains(err.Error(), "belongs to user") {
		t.Errorf("err = %v", err)
	}
}

func TestOpenDir_refusesAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		_, err := OpenDir(path)
		if u, ok := errors.AsType[*UnusableError](err); !ok || !errors.Is(err, syscall.ENOTDIR) || u.Hint == "" {
			t.Errorf("%s: err = %v", path, err)
		}
		if _, _, err := Holder(path); err == nil {
			t.Errorf("%s: Holder has no complaint", path)
		}
	}
}

func TestUnusableError_saysTheWayOut(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.EROFS: "mount it writable", syscall.EACCES: "as its owner", syscall.ENOSPC: "make space", syscall.EIO: "",
	} {
		err := unusable("/x", &fs.PathError{Op: "open", Path: "/x/lock", Err: cause})
		if !strings.Contains(err.Hint, want) || err.Error() != "/x cannot be used: "+cause.Error() || !errors.Is(err, cause) {
			t.Errorf("%v: %q, hint %q", cause, err, err.Hint)
		}
	}
}

func init() { children["hold"] = holdChild }

// holdChild holds the directory until its standard input ends.
func holdChild(args []string) error {
	dir, err := OpenDir(args[0])
	if err != nil {
		return err
	}
	fmt.Println("held")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, dir.Close())
}

func TestOpenDir_oneHolderAtATime(t *testing.T) {
	path := t.TempDir()
	if pid, held, err := Holder(path); pid != 0 || held || err != nil {
		t.Fatalf("before: %d, %v, %v", pid, held, err)
	}
	cmd, in, out := startChild(t, "hold", path)
	if !out.Scan() {
		t.Fatal("the child did not get the lock")
	}
	_, err := OpenDir(path)
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || locked.PID != cmd.Process.Pid || locked.Path != path || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("err = %v", err)
	}
	if pid, held, err := Holder(path); pid != cmd.Process.Pid || !held || err != nil {
		t.Errorf("held: %d, %v, %v", pid, held, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	in.Close()

	// The lock file and the pid of the dead are still there, and mean nothing.
	if _, held, err := Holder(path); held || err != nil {
		t.Errorf("after kill -9: %v, %v", held, err)
	}
	dir := openDir(t, path)
	if pid, held, _ := Holder(path); pid != os.Getpid() || !held {
		t.Errorf("after kill -9 the next holder is %d, %v", pid, held)
	}
	if _, err := OpenDir(path); err == nil {
		t.Error("two holders in one process")
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	if _, held, _ := Holder(path); held {
		t.Error("held after Close")
	}
}

// Views ask for the holder all the time; none of that may look like a second
// p2prc, and none may be told of a holder that is not there.
func TestHolder_doesNotDisturb(t *testing.T) {
	path := t.TempDir()
	openAndClose := func() error {
		dir, err := OpenDir(path)
		if err != nil {
			return err
		}
		return dir.Close()
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := Holder(path); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		if err := openAndClose(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	wg.Wait()
}
