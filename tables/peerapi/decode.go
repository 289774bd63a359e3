package peerapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"p2prc/tables"
	"p2prc/tables/identity"
)

const (
	// maxItems is how many mappings one request can be about: all that a node
	// may have. With names, candidates and signed leases they fit MaxBody.
	maxItems = 1024
	// maxIDChars bounds the ID of a request or a lease.
	maxIDChars = 64
	// maxTTL is the longest that any lease may be said to hold.
	maxTTL = Milliseconds(24 * time.Hour / time.Millisecond)
)

// decodeRequest is strict: a member that is not known here may ask for
// something, and to leave it out would be to grant what was not asked for.
func decodeRequest(b []byte, into request) error {
	if err := decode(b, into, true); err != nil {
		return err
	}
	return into.check()
}

// decodeReply lets unknown members pass: a newer reverse proxy may say more.
func decodeReply(b []byte, into any) error { return decode(b, into, false) }

func decode(b []byte, into any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// request is a body that says what is wrong with it. Only what no service
// could mean is refused here; what may be granted is the service's to say.
type request interface{ check() error }

func (r *ReserveRequest) check() error {
	if err := checkIDChars(r.ID); err != nil {
		return err
	}
	if err := tables.CheckName(r.Name); err != nil {
		return err
	}
	if len(r.Wants) > maxItems {
		return fmt.Errorf("%d ports asked for in one request, at most %d can be", len(r.Wants), maxItems)
	}
	for _, w := range r.Wants {
		if err := tables.CheckName(w.Name); err != nil {
			return err
		}
		if err := checkProtocol(w.Type); err != nil {
			return err
		}
		if err := tables.CheckDomainOf(w.Type, printable(w.Domain)); err != nil {
			return err
		}
	}
	return nil
}

func (r *ReportRequest) check() error {
	if len(r.Rows) > maxItems {
		return fmt.Errorf("%d rows in one report, at most %d can be", len(r.Rows), maxItems)
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		if err := checkIDChars(row.LeaseID); err != nil {
			return err
		}
		if row.State != tables.Up && row.State != tables.Down && row.State != tables.Waiting {
			return fmt.Errorf("%q is not a state", printable(string(row.State)))
		}
		// An IPv6 zone is free text, and names an interface of another host.
		if row.Local.Addr().Zone() != "" {
			return errors.New("a local address may have no zone")
		}
		row.Reason, row.Proved = printable(row.Reason), printable(row.Proved)
	}
	return nil
}

func (r *ReleaseRequest) check() error {
	if len(r.LeaseIDs) > maxItems {
		return fmt.Errorf("%d leases in one request, at most %d can be", len(r.LeaseIDs), maxItems)
	}
	for _, id := range r.LeaseIDs {
		if err := checkIDChars(id); err != nil {
			return err
		}
	}
	return nil
}

// maxAsks is how many ports a witness dials for one request, and maxQuestion what
// it sends there, in bytes: a question of supervisor/proof has 40 to 64.
const (
	maxAsks     = 64
	maxQuestion = 128
	maxLease    = 2 << 10
)

func (r *WitnessRequest) check() error {
	if len(r.Asks) == 0 || len(r.Asks) > maxAsks {
		return fmt.Errorf("%d ports to dial in one request, 1 to %d can be", len(r.Asks), maxAsks)
	}
	for _, a := range r.Asks {
		if len(a.Lease) > maxLease || len(a.Question) > maxQuestion {
			return errors.New("a lease or question that is too long")
		}
	}
	return nil
}

func (r *WitnessReply) accept(identity.ID) error {
	if r.Name = printable(r.Name); len(r.Name) > tables.MaxName {
		return errors.New("the name of the witness is too long")
	}
	for i := range r.Answers {
		r.Answers[i].Error = printable(r.Answers[i].Error)
	}
	return nil
}

func checkProtocol(p tables.Protocol) error {
	if !p.Known() {
		return fmt.Errorf("%q is not a protocol", printable(string(p)))
	}
	return nil
}

// checkIDChars accepts what can stand in a table, a log and a config as it is.
func checkIDChars(s string) error {
	if s == "" || len(s) > maxIDChars {
		return fmt.Errorf("an ID has 1 to %d characters, this one has %d", maxIDChars, len(s))
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return errors.New("an ID has only letters, digits, - and _")
		}
	}
	return nil
}

// reply is a body from the reverse proxy. Its text is made fit to be shown.
type reply interface{ accept(from identity.ID) error }

func (h *Hello) accept(from identity.ID) error {
	p := &h.Proxy
	if p.NodeID != from {
		return fmt.Errorf("its row names node %q", printable(string(p.NodeID)))
	}
	if err := tables.CheckName(p.ServerName); err != nil {
		return err
	}
	if !p.Address.Is4() {
		return errors.New("its row has no IPv4 address")
	}
	h.Version, p.FRPVersion = printable(h.Version), printable(p.FRPVersion)
	p.State, p.Reason = tables.State(printable(string(p.State))), printable(p.Reason)
	p.Admission = tables.Admission(printable(string(p.Admission)))
	return nil
}

// accept checks a lease for itself; that it is the one asked for is checked by
// the client, who knows.
func (l Lease) accept() error {
	if err := checkIDChars(l.ID); err != nil {
		return err
	}
	if l.Port == 0 {
		return errors.New("a lease without a port")
	}
	return checkTTL(l.TTL)
}

func (r *ReserveReply) accept(identity.ID) error {
	for _, l := range r.Leases {
		if err := l.accept(); err != nil {
			return err
		}
	}
	return nil
}

func (r *ReportReply) accept(identity.ID) error {
	for i := range r.Rows {
		if err := checkTTL(r.Rows[i].TTL); err != nil {
			return err
		}
		r.Rows[i].Reason = printable(r.Rows[i].Reason)
	}
	return nil
}

func checkTTL(ttl Milliseconds) error {
	if ttl < 0 || ttl > maxTTL {
		return fmt.Errorf("a lease of %d ms", ttl)
	}
	return nil
}
