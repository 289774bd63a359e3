package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"p2prc/supervisor/control"
)

// late is how much longer than the node itself a caller waits for it.
const late = 2*takeBack + 5*time.Second

// MapLive makes the running server of this state directory map something, and
// tells of each mapping that is proved. When ctx ends, what was not told yet
// is taken back.
func MapLive(ctx context.Context, dir string, req MapRequest, tell func(LiveRow) error) error {
	ctx, cancel := context.WithTimeout(ctx, req.Timeout+late)
	defer cancel()
	return fromControl(dir, control.Follow(ctx, socketIn(dir), pathMap, req, hear(tell, req.Waits)))
}

// WaitLive returns once the mappings are as wanted, and tells of each.
func WaitLive(ctx context.Context, dir string, req WaitRequest, tell func(LiveRow) error) error {
	ctx, cancel := context.WithTimeout(ctx, req.Timeout+late)
	defer cancel()
	return fromControl(dir, control.Follow(ctx, socketIn(dir), pathWait, req, hear(tell, req.Waits)))
}

// UnmapLive drops mappings of `p2prc map`.
func UnmapLive(ctx context.Context, dir string, req UnmapRequest) (UnmapReply, error) {
	return call[UnmapRequest, UnmapReply](ctx, dir, pathUnmap, req)
}

// ReloadLive makes the running server read mappings.toml again.
func ReloadLive(ctx context.Context, dir string) (ReloadReply, error) {
	return call[nothing, ReloadReply](ctx, dir, pathReload, nothing{})
}

// StatusLive is what the node of this state directory says of itself.
func StatusLive(ctx context.Context, dir string) (Status, error) {
	return call[nothing, Status](ctx, dir, pathStatus, nothing{})
}

// WatchLive tells the status again whenever it changes, until ctx ends.
func WatchLive(ctx context.Context, dir string, tell func(Status) error) error {
	return fromControl(dir, control.Follow(ctx, socketIn(dir), pathWatch, nothing{}, tell))
}

// LeaveLive makes the running p2prc go while its tunnels stay up.
func LeaveLive(ctx context.Context, dir string) error {
	_, err := call[nothing, nothing](ctx, dir, pathLeave, nothing{})
	return err
}

// LogFile is where the frps or frpc of a state directory writes.
func LogFile(dir, name string) string { return filepath.Join(dir, "private", name+".log") }

func socketIn(dir string) string { return filepath.Join(dir, "private", "control.sock") }

func call[In, Out any](ctx context.Context, dir, path string, in In) (Out, error) {
	out, err := control.Call[In, Out](ctx, socketIn(dir), path, in)
	return out, fromControl(dir, err)
}

// fromControl turns what came over the control socket, or did not, into a failure
// with a way out.
func fromControl(dir string, err error) error {
	refused, ok := errors.AsType[*control.Refusal](err)
	switch {
	case err == nil:
		return nil
	case ok:
		return &Failure{Kind: kindOf(refused.Kind), Err: refused, Hint: refused.Hint}
	case errors.Is(err, control.ErrNotRunning) && errors.Is(err, fs.ErrPermission):
		return fail(StateUnusable, "run it as the user that runs p2prc, or as root", "the p2prc of %s belongs to another user", dir)
	case errors.Is(err, control.ErrNotRunning) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		return fail(Other, "start it, for example p2prc -s --connect-reverse-proxy HOST, or name its directory with --state-dir",
			"no p2prc runs in %s", dir)
	case errors.Is(err, control.ErrUnknown):
		return fail(Other, "map, unmap, wait and reload are for a server, --allow, --revoke, --revoke-token and --join-string for a reverse proxy; --state-dir names the other one's directory",
			"the p2prc that runs in %s is in the other role, or of another version", dir)
	case errors.Is(err, control.ErrEnded):
		return fail(Other, "is it being stopped or restarted? ask again in a moment", "the running p2prc ended before it had answered")
	case errors.Is(err, context.DeadlineExceeded):
		return fail(TimedOut, "p2prc logs and its own messages may say more", "the running p2prc does not answer")
	}
	return fmt.Errorf("asking the running p2prc: %w", err)
}
