package child

import (
	"errors"
	"fmt"
	"io/fs"

	"p2prc/tables/atomicfile"
)

// ErrNoChild says that no running process is provably the child of the run
// file, and that a new one may be started.
var ErrNoChild = errors.New("no child to adopt")

// Adopt takes over the child that an earlier p2prc started. Proof is the run
// file: the same boot, the same pid with the same start time, the same binary
// in memory, and not a zombie. Where the earlier p2prc was killed before it knew
// the pid, the nonce in the child's environment is the proof. Without proof the
// error is ErrNoChild and no process is touched; any other error means that it
// could not be found out, so that starting a second child would be wrong.
//
// The caller holds the lock of the state directory, by flock(2): a child that is
// still between fork and exec when its p2prc is killed holds it as well, so that
// nobody looks for the child before it can be seen.
func Adopt(s Spec) (*Process, Run, error) {
	s, err := s.checked()
	if err != nil {
		return nil, Run{}, err
	}
	if err := atomicfile.Sweep(s.RunFile); err != nil {
		s.Log.Debug("leftovers not removed", "err", err, "path", s.RunFile)
	}
	r, h, err := prove(s)
	if err != nil {
		return nil, r, fmt.Errorf("adopting %s: %w", s.Name, err)
	}
	l, err := openLog(h.pid, s.LogFile)
	if err != nil {
		h.close()
		return nil, r, fmt.Errorf("adopting %s: %w", s.Name, err)
	}
	if r.Start == "" { // found by its nonce
		r.Start, r.Exe = h.facts.start, h.facts.exe
		if err := r.write(s.RunFile); err != nil {
			s.Log.Warn("child not recorded", "err", err, "pid", h.pid)
		}
	}
	return newProcess(s, nil, h, l, r, r.StartedAt), r, nil
}

// prove finds the process of the run file and holds it, or says why not.
func prove(s Spec) (Run, *handle, error) {
	r, err := ReadRun(s.RunFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil, fmt.Errorf("%w: there is no run file", ErrNoChild)
	case errors.Is(err, errDamaged):
		return r, nil, fmt.Errorf("%w: %w", ErrNoChild, err)
	case err != nil:
		return r, nil, err
	case r.Name != s.Name:
		return r, nil, fmt.Errorf("the run file is that of %q", r.Name)
	}
	boot, err := bootID()
	if err != nil {
		return r, nil, err
	}
	if r.Boot != boot {
		return r, nil, fmt.Errorf("%w: the machine was restarted since", ErrNoChild)
	}
	orphan := r.PID == 0
	if orphan {
		if r.PID = findOrphan(r.Nonce); r.PID == 0 {
			return r, nil, fmt.Errorf("%w: it was never started", ErrNoChild)
		}
	}
	h, err := openHandle(r.PID, false)
	switch {
	case errors.Is(err, errGone) || err == nil && h.facts.ended:
		err = fmt.Errorf("%w: pid %d has ended", ErrNoChild, r.PID)
	case err == nil && !orphan && !r.is(h.facts):
		err = fmt.Errorf("%w: pid %d is another process by now", ErrNoChild, r.PID)
	}
	if err != nil {
		if h != nil {
			h.close()
		}
		return r, nil, err
	}
	return r, h, nil
}

// is compares what was recorded with what runs. A pid and its start time belong
// to one process since the boot; the binary guards against a run file that was
// tampered with, and is unknown where the system does not tell.
func (r Run) is(f facts) bool {
	return r.Start != "" && r.Start == f.start && (r.Exe == (Exe{}) || r.Exe.same(f.exe))
}
