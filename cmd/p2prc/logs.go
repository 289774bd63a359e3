package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"p2prc/supervisor"
)

// followEvery is how often a log is looked at that is followed.
const followEvery = 200 * time.Millisecond

// logs prints what frpc or frps wrote: p2prc's own messages are where its
// stderr goes.
func (c *CLI) logs(ctx context.Context, say *printer, dir string) error {
	which := []string{"frpc", "frps"}
	if c.Logs.Which != "" {
		which = []string{c.Logs.Which}
	}
	var f *os.File
	for _, name := range which {
		var err error
		if f, err = os.Open(supervisor.LogFile(dir, name)); err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return &supervisor.Failure{Kind: supervisor.StateUnusable, Err: err, Hint: "run it as the user that runs p2prc, or as root"}
		}
	}
	if f == nil {
		return &supervisor.Failure{
			Err: errors.New("there is no log of " + strings.Join(which, " or ") + " in " + dir), Hint: "name the directory with --state-dir",
		}
	}
	defer func() { f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		say.note("%s is empty: frp writes down only what went wrong", f.Name())
	}
	for {
		if err := copyLines(say, f); err != nil || !c.Logs.Follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
		next, err := reopened(f)
		if err != nil {
			return err
		}
		f = next
	}
}

// copyLines prints what is there, made safe to show: strangers write some of it.
func copyLines(say *printer, f *os.File) error {
	r := bufio.NewReader(f)
	for {
		text, err := r.ReadString('\n')
		if text != "" {
			if werr := say.print(strings.TrimSuffix(text, "\n")); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reopened is the log as it goes on: under its name a new file stands after a
// restart, and the old one is cut when it gets too long.
func reopened(f *os.File) (*os.File, error) {
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return f, err
	}
	was, err := f.Stat()
	if err != nil {
		return f, err
	}
	if was.Size() < at {
		_, err := f.Seek(0, io.SeekStart)
		return f, err
	}
	now, err := os.Stat(f.Name())
	if err != nil || os.SameFile(was, now) {
		return f, nil // it is being replaced: look again
	}
	next, err := os.Open(f.Name())
	if err != nil {
		return f, nil
	}
	f.Close()
	return next, nil
}
