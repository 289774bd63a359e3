package child

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// What can be wrong with a binary. Each comes wrapped in a *BinaryError.
var (
	ErrMissing       = errors.New("not found")
	ErrNotExecutable = errors.New("not executable")
	ErrWrongArch     = errors.New("built for another kind of machine")
	ErrNotFRP        = errors.New("not frp")
	ErrTooOld        = errors.New("too old")
)

// BinaryError says that frps or frpc cannot be used as it is installed, so that
// trying again does not help.
type BinaryError struct {
	Path string // or the name that was looked for
	Err  error
}

func (e *BinaryError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap gives one of the errors above.
func (e *BinaryError) Unwrap() error { return e.Err }

// binaryError tells the errors of starting a file that lie in the file from
// those that pass, such as too many processes.
func binaryError(path string, err error) error {
	var why error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, stat := os.Stat(path); stat == nil {
			// The file is there, so what it names as its interpreter is not.
			why = fmt.Errorf("%w: the loader it needs is missing", ErrWrongArch)
		} else {
			why = ErrMissing
		}
	case errors.Is(err, fs.ErrPermission):
		why = ErrNotExecutable
	case wrongFormat(err):
		why = fmt.Errorf("%w than this one (%s, %s), or no program at all", ErrWrongArch, runtime.GOOS, runtime.GOARCH)
	default:
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err // the path is said already
		}
		return fmt.Errorf("running %s: %w", path, err)
	}
	return &BinaryError{Path: path, Err: why}
}

// Lookup finds the binary: a name in PATH, or a path. What it returns is
// absolute, so that a later change of PATH or directory changes nothing.
func Lookup(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrDot) {
		return "", &BinaryError{name, fmt.Errorf("%w in PATH, except in the current directory", ErrMissing)}
	}
	if err != nil {
		return "", &BinaryError{name, whyNotFound(name, err)}
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("finding %s: %w", name, err)
	}
	return path, nil
}

// whyNotFound tells a missing file from one that lacks the permission, which
// exec.LookPath passes over in PATH.
func whyNotFound(name string, err error) error {
	if strings.ContainsRune(name, filepath.Separator) || strings.Contains(name, "/") {
		if errors.Is(err, fs.ErrNotExist) {
			return ErrMissing
		}
		return ErrNotExecutable
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, name)
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() {
			return fmt.Errorf("%w: %s", ErrNotExecutable, file)
		}
	}
	return fmt.Errorf("%w in PATH", ErrMissing)
}

// Writable warns when more than the owner could put another program in the
// place of the binary. It is empty when all is well, and on Windows.
func Writable(path string) string {
	if runtime.GOOS == "windows" {
		return "" // file modes say nothing there
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	for _, file := range []string{real, filepath.Dir(real)} {
		fi, err := os.Stat(file)
		if err != nil {
			continue
		}
		sticky := fi.IsDir() && fi.Mode()&fs.ModeSticky != 0
		switch perm := fi.Mode().Perm(); {
		case sticky:
		case perm&0o002 != 0:
			return fmt.Sprintf("every local user can change %s (mode %04o)", file, perm)
		case perm&0o020 != 0:
			return fmt.Sprintf("the group of %s can change it (mode %04o)", file, perm)
		}
	}
	return ""
}
