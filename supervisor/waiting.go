package supervisor

import (
	"context"
	"time"
)

// Waiting says why a call goes on waiting.
type Waiting struct {
	Reasons []string `json:"reasons"` // a few
	More    int      `json:"more,omitempty"`
}

// told is one line of a call that waits: a mapping that is as wanted, or why
// others are not yet.
type told struct {
	LiveRow
	Waiting *Waiting `json:"waiting,omitempty"`
}

// hear sorts what a call is told.
func hear(row func(LiveRow) error, waits func(Waiting)) func(told) error {
	return func(t told) error {
		switch {
		case t.Waiting == nil:
			return row(t.LiveRow)
		case waits != nil:
			waits(*t.Waiting)
		}
		return nil
	}
}

// patience is how long a call waits. Its time is up once over is set; the call then
// looks for the last time.
type patience struct {
	limit *time.Timer
	again *time.Ticker
	over  bool
}

func newPatience(most time.Duration) *patience {
	return &patience{limit: time.NewTimer(most), again: time.NewTicker(lookEvery)}
}

func (p *patience) stop() {
	p.limit.Stop()
	p.again.Stop()
}

// wait returns when there may be something to look at: next says so, it is time to
// say why nothing is, or time is up.
func (p *patience) wait(ctx context.Context, next <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.limit.C:
		p.over = true
	case <-next:
	case <-p.again.C:
	}
	return nil
}

const (
	fewReasons = 3
	lookEvery  = time.Second

	// slow is when a call is told what it waits for, whatever that is: a proof
	// takes less than a second, and passes through reasons that heal.
	slow = 5 * time.Second
)

// delay tells a call why it waits, each reason once. Thousands of mappings come
// in many passes: they are summed up for longer and longer.
type delay struct {
	tell  func(any) error
	began time.Time
	next  time.Time
	pause time.Duration
	known map[string]bool
}

func newDelay(tell func(any) error) *delay {
	return &delay{tell: tell, began: time.Now(), pause: lookEvery, known: make(map[string]bool)}
}

// lasts reports whether a reason is worth telling by now. One that nobody has
// looked at waits for the reverse proxy: for its answer, or to be let in.
func (d *delay) lasts(p *post, now time.Time) bool {
	switch {
	case p.row.Standby: // another reverse proxy decides, which may have said nothing yet
	case p.refused, p.kind == NothingListens, p.kind == ProxyUnreachable:
		return true
	case p.row.State == "" && p.row.Reason != notLooked:
		return now.Sub(d.began) >= lookEvery
	}
	return now.Sub(d.began) > slow
}

// over looks at the mappings that are waited for.
func (d *delay) over(late []*post) error {
	now := time.Now()
	if now.Before(d.next) {
		return nil
	}
	var w Waiting
	for _, p := range late {
		if why := p.row.Reason; why != "" && d.lasts(p, now) && !d.known[why] {
			d.known[why] = true
			if len(w.Reasons) < fewReasons {
				w.Reasons = append(w.Reasons, why)
			} else {
				w.More++
			}
		}
	}
	if len(w.Reasons) == 0 {
		return nil
	}
	d.next, d.pause = now.Add(d.pause), 2*d.pause
	return d.tell(told{Waiting: &w})
}
