package child

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bootID changes with every start of the machine: start times count from there.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func wrongFormat(err error) bool { return errors.Is(err, unix.ENOEXEC) }

func inspect(pid int) (facts, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return facts{}, errGone
	}
	if err != nil {
		return facts{}, fmt.Errorf("inspecting pid %d: %w", pid, err)
	}
	f, err := parseStat(b)
	if err != nil {
		return facts{}, fmt.Errorf("inspecting pid %d: %w", pid, err)
	}
	f.exe = exeOf(dir + "/exe")
	return f, nil
}

// parseStat reads /proc/PID/stat (proc_pid_stat(5)). The command name before
// the last parenthesis may hold anything, also parentheses and spaces.
func parseStat(b []byte) (facts, error) {
	name := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[name+1:]))
	const (
		state, parent, session = 0, 1, 3
		start                  = 19 // field 22 of the file
	)
	if name < 0 || len(fields) <= start {
		return facts{}, errors.New("its stat file has too few fields")
	}
	f := facts{start: fields[start], ended: strings.Contains("ZXx", fields[state])}
	var err, err2 error
	f.parent, err = strconv.Atoi(fields[parent])
	f.session, err2 = strconv.Atoi(fields[session])
	return f, errors.Join(err, err2)
}

// exeOf follows the link to the running file itself, not to what stands at its
// path by now. Only the user who runs a process, or root, may ask.
func exeOf(link string) Exe {
	path, err := os.Readlink(link)
	if err != nil {
		return Exe{}
	}
	fi, err := os.Stat(link)
	if err != nil {
		return Exe{}
	}
	dev, ino := fileNumber(fi)
	return Exe{Path: path, Dev: dev, Ino: ino}
}

// same compares the file, not the path: that may have been renamed, and says
// "(deleted)" once another file took its place.
func (e Exe) same(f Exe) bool { return e.Dev == f.Dev && e.Ino == f.Ino }

// runningFile can be read for the binary that the process runs, whatever stands
// at its path now.
func runningFile(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/exe" }

// openOutput opens the file that the process writes its output to, also when it
// was moved or deleted: its size is to stay in bounds all the same.
func openOutput(pid int, path string) (*os.File, error) {
	stdout := "/proc/" + strconv.Itoa(pid) + "/fd/1"
	if fi, err := os.Stat(stdout); err == nil && fi.Mode().IsRegular() {
		if f, err := os.OpenFile(stdout, os.O_RDWR|os.O_APPEND, 0); err == nil {
			return f, nil
		}
	}
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
}

// A child that is between fork and exec as its p2prc is killed shows its
// environment a moment later.
const (
	orphanTries = 3
	orphanPause = 10 * time.Millisecond
)

// findOrphan finds the process that was started with the nonce, 0 if there is
// none. What that process started in turn has the nonce as well, but leads no
// session.
func findOrphan(nonce string) int {
	for try := range orphanTries {
		if try > 0 {
			<-time.After(orphanPause)
		}
		dirs, err := os.ReadDir("/proc")
		if err != nil {
			return 0
		}
		for _, d := range dirs {
			pid, err := strconv.Atoi(d.Name())
			if err != nil {
				continue
			}
			environ, err := os.ReadFile("/proc/" + d.Name() + "/environ")
			if err != nil || !nonceIn(environ, nonce) {
				continue // another user's, mostly
			}
			if f, err := inspect(pid); err == nil && f.session == pid && !f.ended {
				return pid
			}
		}
	}
	return 0
}

func nonceIn(environ []byte, nonce string) bool {
	for kv := range strings.SplitSeq(string(environ), "\x00") {
		if kv == nonceKey+"="+nonce {
			return true
		}
	}
	return false
}
