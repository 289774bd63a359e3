package peerapi

import (
	"fmt"
	"log/slog"
)

const hidden = "[hidden]"

// Format keeps every verb from printing the token and the credential.
func (FRP) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue keeps a JSON log from printing them.
func (FRP) LogValue() slog.Value { return slog.StringValue(hidden) }

// Format prints the lease without its guard key, whatever the verb.
func (l Lease) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "lease %q: %q gets %q port %d for %s", l.ID, l.Name, l.Type, l.Port, l.TTL.Duration())
}

// LogValue is what Format prints.
func (l Lease) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(l)) }

// LogValue keeps a JSON log from printing the secrets inside.
func (r ReserveReply) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("%d leases", len(r.Leases)))
}
