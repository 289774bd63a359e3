package child

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// Version is a release of frp.
type Version struct{ Major, Minor, Patch int }

// Min is the oldest frp that p2prc works with: 0.52.3 exits 0 after a refused
// login and ignores unknown settings, one of which is the token.
var Min = Version{0, 61, 0}

// String is the version as frp writes it.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Compare is negative when v is older than w, positive when it is newer.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// versionLine is all that `frps -v` and `frpc -v` print: "0.70.1" (0.61.0,
// 0.65.0, 0.70.1). A distribution may add to it.
var versionLine = regexp.MustCompile(`^v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})([-+~][0-9A-Za-z.+~-]*)?\s*$`)

// ParseVersion reads what frp prints when asked for its version.
func ParseVersion(s string) (Version, error) {
	m := versionLine.FindStringSubmatch(s)
	if m == nil {
		return Version{}, fmt.Errorf("%w: it does not tell its version", ErrNotFRP)
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // at most four digits
	}
	return Version{n[0], n[1], n[2]}, nil
}

const (
	// versionTime bounds `frps -v`: 10 ms, but a cold SD card while everything
	// else starts is slow.
	versionTime = 5 * time.Second
	maxVersion  = 4 << 10
)

// VersionOf asks the binary for its version. A *BinaryError says that it cannot
// be used; with ErrTooOld the version is given as well.
func VersionOf(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, versionTime, fmt.Errorf("no answer in %v", versionTime))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &capped{left: maxVersion, full: func() { stop(errTooLong) }}
	cmd := exec.CommandContext(ctx, path, "-v")
	cmd.Env = baseEnv()
	cmd.Stdout = out
	cmd.SysProcAttr = detached()
	cmd.WaitDelay = time.Second // something it started may hold the pipe
	if err := cmd.Start(); err != nil {
		return Version{}, binaryError(path, err)
	}
	err := cmd.Wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTooLong):
		return Version{}, &BinaryError{path, fmt.Errorf("%w: asked for its version, it prints too much", ErrNotFRP)}
	case cause != nil: // the caller's end, or the time is up
		return Version{}, fmt.Errorf("asking %s for its version: %w", path, cause)
	case err != nil:
		return Version{}, &BinaryError{path, fmt.Errorf("%w: asked for its version, it says %w", ErrNotFRP, err)}
	}
	v, err := ParseVersion(out.buf.String())
	if err != nil {
		return v, &BinaryError{path, err}
	}
	return v, v.check(path)
}

func (v Version) check(path string) error {
	if v.Compare(Min) < 0 {
		return &BinaryError{path, fmt.Errorf("%w: it is frp %s, and %s is the oldest that works", ErrTooOld, v, Min)}
	}
	return nil
}

// capped is a buffer that refuses to grow for ever, and says so at once: a
// program that ignores SIGPIPE would go on printing. The buffer is not embedded:
// io.Copy would find its ReadFrom and pass Write by.
type capped struct {
	buf  bytes.Buffer
	left int
	full func()
}

var errTooLong = errors.New("too much output")

func (c *capped) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.full()
		return 0, errTooLong
	}
	c.left -= len(p)
	return c.buf.Write(p)
}
