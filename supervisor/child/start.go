package child

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// ErrRunning says that the child of this run file still runs: it is to be
// adopted, or stopped, before another is started.
var ErrRunning = errors.New("it is already running")

// Start starts the child and records it in the run file. It returns as soon as
// the binary runs, long before its ports are open. A *BinaryError says that the
// binary itself is the problem, so that trying again does not help.
func Start(s Spec) (*Process, error) {
	s, err := s.checked()
	if err != nil {
		return nil, err
	}
	r, err := intend(s)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	p, err := launch(s, r)
	if err != nil {
		_ = r.remove(s.RunFile) // a run without a process is harmless
		return nil, fmt.Errorf("starting %s: %w", s.Name, err)
	}
	return p, nil
}

// intend writes the run file without a pid. From then on a child that carries
// its nonce is found, whenever p2prc is killed.
func intend(s Spec) (Run, error) {
	r, h, err := prove(s)
	if err == nil {
		h.close()
		return Run{}, fmt.Errorf("%w as pid %d", ErrRunning, r.PID)
	}
	if !errors.Is(err, ErrNoChild) {
		return Run{}, err
	}
	boot, err := bootID()
	if err != nil {
		return Run{}, err
	}
	binary, err := stampOf(s.Path)
	if err != nil {
		return Run{}, binaryError(s.Path, err)
	}
	r = Run{
		FileFormat: runFormat, Name: s.Name, Boot: boot, Binary: binary, Nonce: rand.Text(), StartedAt: time.Now().UTC(),
		Admin: s.Admin, Common: s.Common, Mappings: s.Mappings, Extra: s.Extra,
	}
	return r, r.write(s.RunFile)
}

func launch(s Spec, r Run) (*Process, error) {
	l, err := createLog(s.LogFile)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(s.Path, s.Args...)
	cmd.Dir, cmd.Env = s.Dir, s.environ(r.Nonce)
	cmd.Stdout, cmd.Stderr = l.f, l.f
	cmd.SysProcAttr = detached()
	started := r.StartedAt
	if err := cmd.Start(); err != nil {
		l.close()
		return nil, binaryError(s.Path, err)
	}
	h, err := openHandle(cmd.Process.Pid, true)
	if err != nil {
		_ = cmd.Process.Kill() // it cannot be watched
		_ = cmd.Wait()
		l.close()
		return nil, err
	}
	r.PID, r.Start, r.Exe = h.pid, h.facts.start, h.facts.exe
	p := newProcess(s, cmd, h, l, r, started)
	// On Linux the nonce alone is enough to find the child again, so a disk that
	// has just become full is no reason to end it.
	if err := r.write(s.RunFile); err != nil {
		s.Log.Warn("child not recorded", "err", err, "pid", h.pid)
	}
	return p, nil
}
