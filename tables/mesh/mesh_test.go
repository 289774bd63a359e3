package mesh_test

import (
	"testing"

	"p2prc/tables/identity"
	"p2prc/tables/mesh"
)

func TestMesh_recordReachesEveryone(t *testing.T) {
	w := newWorld(t)
	all := w.build(10, nil)
	record := []byte("something new")
	all[3].Deliver(record)
	all[3].mesh.Broadcast(record)
	took := w.await("all know", func() bool { return allKnow(all, record) })
	t.Logf("10 members know a record after %s", took)
}

func allKnow(all []*node, record []byte) bool {
	for _, n := range all {
		if !n.knows(record) {
			return false
		}
	}
	return true
}

func TestMesh_killedMemberIsLostAndComesBack(t *testing.T) {
	w := newWorld(t)
	all := w.build(5, nil)
	dead, others := all[4], all[:4]
	dead.kill()
	took := w.await("the others declare it dead", func() bool {
		for _, n := range others {
			if n.has(dead) || !n.heard(mesh.Event{Kind: mesh.Left, Seed: dead.seed()}) {
				return false
			}
		}
		return true
	})
	t.Logf("declared dead after %s at a fifth of the usual pace", took)
	_ = identity.ID("")
}
