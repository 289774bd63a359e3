package peerapi

import (
	"fmt"
)

func badRequest(format string, args ...any) *Refusal {
	return &Refusal{CodeBadRequest, printable(fmt.Errorf(format, args...).Error())}
}

// parseRefusal gives the refusal in b, fit to be shown, or why there is none.
func parseRefusal(b []byte) error {
	var r Refusal
	if err := decodeReply(b, &r); err != nil {
		return fmt.Errorf("reading a refusal: %w", err)
	}
	if err := checkIDChars(string(r.Code)); err != nil {
		return fmt.Errorf("reading a refusal: %w", err)
	}
	if r.Message = printable(r.Message); r.Message == "" {
		r.Message = string(r.Code)
	}
	return &r
}
