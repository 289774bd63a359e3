package child

// StartUnrecorded leaves behind what a kill -9 between the fork and the run file
// leaves: a child, and a run file without its pid.
func StartUnrecorded(s Spec) (*Process, error) {
	s, err := s.checked()
	if err != nil {
		return nil, err
	}
	r, err := intend(s)
	if err != nil {
		return nil, err
	}
	p, err := launch(s, r)
	if err != nil {
		return nil, err
	}
	return p, r.write(s.RunFile)
}

// AdoptPolling is Adopt on a system without pidfds.
func AdoptPolling(s Spec) (*Process, error) {
	s, err := s.checked()
	if err != nil {
		return nil, err
	}
	r, h, err := prove(s)
	if err != nil {
		return nil, err
	}
	if h.pidfd != nil {
		_ = h.pidfd.Close()
		h.pidfd = nil
	}
	l, err := openLog(h.pid, s.LogFile)
	if err != nil {
		return nil, err
	}
	return newProcess(s, nil, h, l, r, r.StartedAt), nil
}
