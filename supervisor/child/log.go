package child

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode"
)

// The bounds of a child's log. frp at level warn writes a few lines a day; these
// are for the day when it does not.
const (
	maxLog      = 1 << 20   // then it is cut
	keptLog     = 256 << 10 // of what was cut, beside the log
	tailBytes   = 16 << 10
	tailLines   = 100
	maxLineLen  = 500 // characters
	previousLog = ".1"
)

// logFile is the file a child writes its output to. The child appends to it by
// its own descriptor, so the file is cut in place and never replaced; a full
// disk gives the child an error that frp ignores, and never makes it wait.
type logFile struct {
	f    *os.File
	path string
}

// createLog makes an empty log and keeps the one of the run before.
func createLog(path string) (*logFile, error) {
	fi, err := os.Stat(path)
	if err == nil && fi.Size() > 0 {
		err = os.Rename(path, path+previousLog)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keeping the last log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("creating the log: %w", err)
	}
	if err := f.Chmod(0o600); err != nil { // whatever the umask or an older file says
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("creating the log: %w", err)
	}
	return &logFile{f: f, path: path}, nil
}

// openLog opens the log that the adopted process writes to.
func openLog(pid int, path string) (*logFile, error) {
	f, err := openOutput(pid, path)
	if errors.Is(err, fs.ErrNotExist) { // deleted by somebody
		return createLog(path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return &logFile{f: f, path: path}, nil
}

// cut empties the log once it is too large; its end is kept beside it. What the
// child writes in between is lost.
func (l *logFile) cut() error {
	fi, err := l.f.Stat()
	if err != nil || fi.Size() <= maxLog {
		return err
	}
	end, err := l.end(keptLog)
	if err == nil {
		err = os.WriteFile(l.path+previousLog, end, 0o600)
	}
	// Cut in any case: this is what gives a full disk its space back.
	if cut := l.f.Truncate(0); cut != nil {
		// Windows does not allow it on a file opened for appending.
		cut = os.Truncate(l.path, 0)
		err = errors.Join(err, cut)
	}
	return err
}

// end is the last n bytes of the log.
func (l *logFile) end(n int64) ([]byte, error) {
	fi, err := l.f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, fi.Size()-n)
	return io.ReadAll(io.NewSectionReader(l.f, from, n))
}

// tail is the last lines of the log, fit to be shown.
func (l *logFile) tail() ([]string, error) {
	b, err := l.end(tailBytes)
	if err != nil {
		return nil, err
	}
	return lines(b), nil
}

// close needs no check: everything this side wrote is gone or truncated.
func (l *logFile) close() { _ = l.f.Close() }

// ansi is a terminal's control sequence. frp colours its log even in a file
// unless log.disablePrintColor is set (0.61.0 to 0.70.1).
var ansi = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]")

// lines splits the end of a log into lines that are safe to print: a name that
// reaches frp's log from outside must not drive the user's terminal.
func lines(b []byte) []string {
	var out []string
	for line := range strings.Lines(ansi.ReplaceAllString(string(b), "")) {
		line = strings.TrimSpace(strings.Map(printable, line))
		if r := []rune(line); len(r) > maxLineLen {
			line = string(r[:maxLineLen]) + "..."
		}
		if line != "" {
			out = append(out, line)
		}
	}
	return out[max(0, len(out)-tailLines):]
}

func printable(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
		return -1
	}
	return r
}
