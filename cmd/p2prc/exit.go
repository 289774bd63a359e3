package main

import (
	"errors"

	"p2prc/supervisor"
	"p2prc/tables"
)

// The exit codes. Scripts depend on them: a code is never given a new meaning.
const (
	exitDone             = 0
	exitFailure          = 1
	exitUsage            = 2
	exitState            = 3
	exitFRP              = 4
	exitProxyUnreachable = 5
	exitRefused          = 6
	exitNoPort           = 7
	exitNotReachable     = 8
	exitNothingListens   = 9
	exitChildDying       = 10
	exitStateHeld        = 11
	exitTimeout          = 12
	exitInterrupted      = 130
)

// exitCodes is the one table: --help prints it, and a test compares it with
// the README.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitDone, "done; also a service that was asked to stop (Ctrl-C, SIGTERM)"},
	{exitFailure, "any other failure"},
	{exitUsage, "wrong usage"},
	{exitState, "state directory or table unusable"},
	{exitFRP, "frp missing, not executable or too old"},
	{exitProxyUnreachable, "reverse proxy unreachable, or no p2prc there"},
	{exitRefused, "refused (pin, token, quota)"},
	{exitNoPort, "no port to be had"},
	{exitNotReachable, "port granted, but not reachable from outside"},
	{exitNothingListens, "nothing listens on the local port"},
	{exitChildDying, "frps or frpc keeps dying"},
	{exitStateHeld, "another p2prc holds the state directory"},
	{exitTimeout, "wait timed out"},
	{exitInterrupted, "interrupted"},
}

var exitOfKind = map[supervisor.Kind]int{
	supervisor.Other:            exitFailure,
	supervisor.BadUsage:         exitUsage,
	supervisor.StateUnusable:    exitState,
	supervisor.FRPUnusable:      exitFRP,
	supervisor.ProxyUnreachable: exitProxyUnreachable,
	supervisor.Refused:          exitRefused,
	supervisor.NoPort:           exitNoPort,
	supervisor.NotReachable:     exitNotReachable,
	supervisor.NothingListens:   exitNothingListens,
	supervisor.ChildDying:       exitChildDying,
	supervisor.StateHeld:        exitStateHeld,
	supervisor.TimedOut:         exitTimeout,
}

// errInterrupted ends a command that a signal cut short.
var errInterrupted = errors.New("interrupted")

// exitCode is the code of the process that ends with err.
func exitCode(err error) int {
	var (
		failure  *supervisor.Failure
		usage    *usageError
		unusable *tables.UnusableError
		locked   *tables.LockedError
	)
	switch {
	case err == nil, errors.Is(err, errUnread):
		return exitDone
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &failure):
		if code, ok := exitOfKind[failure.Kind]; ok {
			return code
		}
		return exitFailure
	case errors.As(err, &locked):
		return exitStateHeld
	case errors.As(err, &unusable):
		return exitState
	}
	return exitFailure
}
