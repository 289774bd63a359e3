package record

import "time"

func (s *Set) endsAt(t time.Time) {
	if s.soonest.IsZero() || t.Before(s.soonest) {
		s.soonest = t
	}
}

// Expire lets go of what has expired, and keeps of each subject what must not
// come back. Until anything but a heartbeat ends, it looks at those who sent
// one only.
func (s *Set) Expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	look := s.beating
	if !s.soonest.IsZero() && !now.Before(s.soonest) {
		look, s.soonest = s.owners, time.Time{}
		s.room.expire(now)
	}
	for id, o := range look {
		if beats := s.expire(o, now); !beats {
			delete(s.beating, id)
		}
		if len(o.entries) == 0 && s.owners[id] == o {
			delete(s.owners, id)
		}
	}
}

// expire tells whether the owner has a heartbeat left.
func (s *Set) expire(o *owner, now time.Time) (beats bool) {
	kept := o.entries[:0]
	for _, e := range o.entries {
		if !e.void && !e.Live(now) {
			s.avoid(e)
			s.tell(Change{Record: e.Record, Void: true})
		}
		if !e.until.After(now) {
			s.remove(e)
			if o.goodbye == e {
				o.goodbye = nil
			}
			continue
		}
		kept = append(kept, e)
		switch {
		case e.Kind() == KindHeartbeat:
			beats = true
		case e.void:
			s.endsAt(e.until)
		default:
			s.endsAt(e.Expires)
		}
	}
	clear(o.entries[len(kept):])
	o.entries = kept
	return beats
}
