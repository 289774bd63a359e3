package supervisor

import (
	"testing"
	"testing/synctest"
	"time"

	"p2prc/tables"
)

// TestDelay: what passes by itself in a moment is not told, what lasts is.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		d := newDelay(func(item any) error {
			heard = append(heard, item.(told).Waiting.Reasons...)
			return nil
		})
		late := []*post{{row: tables.Mapping{State: tables.Waiting, Reason: "frpc has not opened it yet"}, kind: ChildDying}}
		for range 2 * slow / lookEvery {
			if err := d.over(late); err != nil {
				t.Fatal(err)
			}
			if early := time.Since(d.began) <= slow; early != (len(heard) == 0) {
				t.Fatalf("after %v: %q", time.Since(d.began), heard)
			}
			time.Sleep(lookEvery)
		}
		if len(heard) != 1 {
			t.Errorf("told again: %q", heard)
		}
	})
}
