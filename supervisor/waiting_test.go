package supervisor

import (
	"testing"
	"testing/synctest"
	"time"

	"p2prc/tables"
)

// TestDelay: what passes by itself in a moment is not told, what lasts is, once.
func TestDelay(t *testing.T) {
	row := func(reason string) tables.Mapping { return tables.Mapping{State: tables.Waiting, Reason: reason} }
	standby := row("it lends no domains")
	standby.Standby = true
	for _, tt := range []struct {
		name  string
		late  post
		after time.Duration
	}{
		{"no service", post{row: row("nothing listens"), kind: NothingListens}, 0},
		{"no proxy", post{row: row("it does not answer"), kind: ProxyUnreachable}, 0},
		{"refused", post{row: row("too many"), kind: Refused, refused: true}, 0},
		{"nobody has looked", post{row: tables.Mapping{Reason: "it does not know this node"}, kind: TimedOut}, lookEvery},
		{"on its way", post{row: row("frpc has not opened it yet"), kind: ChildDying}, slow + lookEvery},
		{"refused by one that stands by", post{row: standby, kind: Refused, refused: true}, slow + lookEvery},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []time.Duration
				d := newDelay(nil)
				d.tell = func(any) error {
					told = append(told, time.Since(d.began))
					return nil
				}
				for range 3 * slow / lookEvery {
					if err := d.over([]*post{&tt.late}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(lookEvery)
				}
				if len(told) != 1 || told[0] != tt.after {
					t.Errorf("told after %v, want once after %v", told, tt.after)
				}
			})
		})
	}
}
