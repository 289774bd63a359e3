//go:build !windows

package tables

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func init() { children["commit"] = commitChild }

// commitChild commits for ever, and says the number of each commit once it is
// acknowledged. A commit changes a mapping and a reservation together, now and
// then drops an older pair, and carries filler so that the journal is compacted
// every few dozen commits.
func commitChild(args []string) error {
	dir, err := OpenDir(args[0])
	if err != nil {
		return err
	}
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	next := 1 // its port says how far an earlier child came
	for _, r := range s.Reservations() {
		next = max(next, int(r.Port)+1)
	}
	for i := next; ; i++ {
		m, r := crashRows(i)
		b := Batch{Mappings: []Mapping{m}, Reservations: []Reservation{r}}
		if i%3 == 0 && i > 3 {
			old, res := crashRows(i - 3)
			b.DropMappings, b.DropReservations = []MappingKey{old.Key()}, []ReservationKey{res.Key()}
		}
		for k := range 5 {
			b.Proxies = append(b.Proxies, aProxy(k))
		}
		if err := s.Commit(b); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

func crashRows(i int) (Mapping, Reservation) {
	m, r := aMapping(i), aReservation(i)
	m.Serial, r.Port = uint64(i), uint16(i)
	return m, r
}

// gone tells whether commit i was undone by a later one up to last.
func gone(i, last int) bool { return i%3 == 0 && i+3 <= last }

// TestKill9: whatever is acknowledged survives kill -9 at any moment, a batch
// is there whole or not at all, and every file parses for every reader.
func TestKill9(t *testing.T) {
	t.Parallel()
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	path := filepath.Join(t.TempDir(), "state")
	acknowledged := 0
	for round := range rounds {
		cmd, in, out := startChild(t, "commit", path)
		// A few commits after the start or in the middle of the start itself.
		moment := time.NewTimer(time.Duration(rand.IntN(60)) * time.Millisecond)
		if round%2 == 0 {
			moment.Reset(time.Minute)
		}
		lines := make(chan int)
		go func() {
			defer close(lines)
			for out.Scan() {
				n, err := strconv.Atoi(out.Text())
				if err != nil {
					t.Errorf("the child says %q", out.Text())
				}
				lines <- n
			}
		}()
		for want := 1 + rand.IntN(20); want > 0; want-- {
			select {
			case n, ok := <-lines:
				if !ok {
					t.Fatal("the child ended by itself")
				}
				acknowledged = n
			case <-moment.C:
				want = 0
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for n := range lines { // what was said before the kill counts
			acknowledged = n
		}
		in.Close()
		_ = cmd.Wait() // killed
		// The next child goes on from what is there, said or not.
		acknowledged = max(acknowledged, checkAfterCrash(t, path, acknowledged))
	}
	if acknowledged < rounds {
		t.Errorf("only %d commits in %d rounds", acknowledged, rounds)
	}
	if got := corrupt(t, path); got != nil {
		t.Errorf("set aside: %q", got)
	}
}

// checkAfterCrash allows one commit more than was acknowledged: it may have been
// on its way. It returns the last one that is there.
func checkAfterCrash(t *testing.T, path string, acknowledged int) int {
	t.Helper()
	entries, err := os.ReadDir(path)
	if os.IsNotExist(err) && acknowledged == 0 {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !json.Valid(mustRead(t, path, e.Name())) {
			t.Fatalf("%s is not JSON", e.Name())
		}
	}
	v, err := ReadMappings(path, t0)
	if err != nil {
		t.Fatal(err)
	}
	if v.Running {
		t.Fatal("the killed child still holds the directory")
	}
	seen := map[int]Mapping{}
	last := 0
	for _, m := range v.Rows {
		seen[int(m.Serial)] = m
		last = max(last, int(m.Serial))
		if m.State != Waiting {
			t.Fatalf("%s is %s although nothing proves it", m.Name, m.State)
		}
	}
	if last > acknowledged+1 {
		t.Fatalf("commit %d is there, %d was the last", last, acknowledged)
	}
	mine := newOwn()
	if _, err := readJournal(path, mine.replay); err != nil && acknowledged > 0 {
		t.Fatal(err)
	}
	for i := 1; i <= max(last, acknowledged); i++ {
		m, r := crashRows(i)
		_, hasM := seen[i]
		_, hasR := mine.reservations[r.Key()]
		if hasM != hasR || hasM == gone(i, max(last, acknowledged)) {
			t.Fatalf("commit %d of %d (%s): mapping %v, reservation %v", i, acknowledged, m.Name, hasM, hasR)
		}
	}
	return last
}
