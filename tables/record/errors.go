package record

import "errors"

// Why a record does not enter. Only the first two can never happen between
// honest nodes: whoever sends such a record made it, or does not check.
var (
	ErrMalformed    = errors.New("not a record")
	ErrForged       = errors.New("forged")
	ErrUnknownKind  = errors.New("of a kind that this version does not know")
	ErrFuture       = errors.New("issued in the future")
	ErrExpired      = errors.New("expired")
	ErrOlder        = errors.New("older than what is known")
	ErrEquivocation = errors.New("another record has its serial")
	ErrQuota        = errors.New("no room for it")
	ErrShunned      = errors.New("its owner or reverse proxy is shunned")
)
