package supervisor_test

import (
	"errors"
	"testing"

	"p2prc/supervisor"
	"p2prc/supervisor/proof"
	"p2prc/tables"
	"p2prc/tables/identity"
	"p2prc/tables/peerapi"
)

// TestWitness: a reverse proxy dials the port of another one for whom it was
// lent to, and for nobody else.
func TestWitness(t *testing.T) {
	m := newMesh(t, 2, func(i int, o *supervisor.ReverseProxyOptions) {
		if i == 0 {
			withDomains(o)
		}
	})
	for i := range m.proxy {
		m.proxy[i].proxyRow(m.place[1-i].host, "up", isUp)
	}
	key := identity.NewKey()
	client := func(i int, key identity.Key) *peerapi.Client {
		j, err := identity.ParseJoin(m.join[i])
		if err != nil {
			t.Fatal(err)
		}
		c := peerapi.NewClient(peerapi.ClientOptions{Key: key, Host: j.Host, Port: j.Port, Pin: j.Pin, Token: j.Token, Name: "node"})
		t.Cleanup(func() { c.Close() })
		return c
	}
	reply, err := client(0, key).Reserve(t.Context(), peerapi.ReserveRequest{
		ID: "r1", Name: "node", Wants: []peerapi.Want{
			{Name: "web", Type: tables.TCP},
			{Name: "dns", Type: tables.UDP},
			{Name: "p2prc-http", Type: tables.HTTP, Domain: tables.CanaryDomain(key.ID())},
			{Name: "p2prc-https", Type: tables.HTTPS, Domain: tables.CanaryDomain(key.ID())},
			{Name: "site", Type: tables.HTTP, Domain: "app.example.org"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c *peerapi.Client, l peerapi.Lease, signed []byte) error {
		q := proof.Target{Type: l.Type, LeaseID: l.ID, Key: l.GuardKey}.Question()
		got, err := c.Witness(t.Context(), peerapi.WitnessRequest{Asks: []peerapi.Ask{{Lease: signed, Question: q.Bytes}}})
		switch {
		case err != nil:
			return err
		case got.Answers[0].Error != "":
			return errors.New(got.Answers[0].Error)
		case !q.Right(got.Answers[0].Answer):
			return errors.New("a wrong answer")
		}
		return nil
	}
	witness := client(1, key)
	for _, l := range reply.Leases[:2] {
		if err := ask(witness, l, l.Signed); err != nil {
			t.Errorf("%s: %v", l.Name, err)
		}
	}
	// Nobody has opened the domains, which is what frps tells the witness.
	for i, says := range map[int]string{
		2: "nobody answers for the domain there",
		3: "remote error: tls: unrecognized name",
		4: "witnessing a port: the domain app.example.org is not the node's own",
	} {
		got, err := witness.Witness(t.Context(), peerapi.WitnessRequest{Asks: []peerapi.Ask{
			{Lease: reply.Leases[i].Signed, Question: proof.NewCanary().Question().Bytes},
		}})
		if err != nil || got.Answers[0].Error != says {
			t.Errorf("%s: %+v, %v", reply.Leases[i].Name, got, err)
		}
	}
	web := reply.Leases[0]
	forged := append([]byte(nil), web.Signed...)
	forged[len(forged)-1] ^= 1
	for _, tt := range []struct {
		name   string
		client *peerapi.Client
		lease  []byte
		says   string
	}{
		{"another node's lease", client(1, identity.NewKey()), web.Signed, "the lease is another node's"},
		{"the proxy itself", client(0, key), web.Signed, "a reverse proxy is no witness of its own ports"},
		{"a forged lease", witness, forged, "witnessing a port: reading a signed lease: the signature is not the reverse proxy's"},
		{"no lease", witness, []byte("lease"), "reading a signed lease: 5 bytes is no length for one"},
	} {
		if err := ask(tt.client, web, tt.lease); err == nil || err.Error() != tt.says {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
