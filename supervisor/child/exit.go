package child

import (
	"fmt"
	"syscall"
	"time"
)

// Exit is how a child ended.
type Exit struct {
	Known   bool           // Code and Signal are; for an adopted child they seldom are
	Code    int            // -1 when a signal ended it
	Signal  syscall.Signal // 0: none
	Adopted bool
	Ran     time.Duration
	Tail    []string // the last lines of its log, without colours and control characters
}

func (e Exit) String() string {
	switch {
	case !e.Known:
		return "ended, started by an earlier p2prc: its exit code is not known"
	case e.Signal != 0:
		return "killed by " + signalName(e.Signal)
	case e.Code == 0:
		return "ended by itself"
	}
	return fmt.Sprintf("exit code %d", e.Code)
}
