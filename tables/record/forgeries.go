package record

// forgeries is the last forged records, so that the same bytes cost a
// verification once.
type forgeries struct {
	ring [1024]Hash
	next int
	set  map[Hash]struct{}
}

func (f *forgeries) has(h Hash) bool { _, ok := f.set[h]; return ok }

func (f *forgeries) add(h Hash) {
	if f.set == nil {
		f.set = make(map[Hash]struct{}, len(f.ring))
	}
	if f.has(h) {
		return
	}
	delete(f.set, f.ring[f.next])
	f.ring[f.next] = h
	f.set[h] = struct{}{}
	f.next = (f.next + 1) % len(f.ring)
}
