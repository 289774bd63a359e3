// Package child runs the stock frps and frpc processes: it starts them, finds
// them again after a restart of p2prc, notices how they end and stops them.
//
// A child outlives p2prc: it has its own session, writes its output to a file
// and never to a pipe (a full pipe froze the tunnel, a broken one killed frpc),
// and no parent-death signal is set, since that fires when the starting OS
// thread ends. What is needed to find it again stands in a run file.
//
// Not here: the files that frp reads (frpconf), what it answers (admin), and
// when to start, reload or replace it (supervisor).
package child
