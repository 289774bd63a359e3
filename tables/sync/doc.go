// Package sync brings the record sets of two nodes together and keeps them so,
// over a connection that one of them dialled. Not here: the records and their
// order (tables/record), how proxies find each other (tables/mesh), whom to dial
// and who is let in (package supervisor).
//
// Frames go both ways, each a length of four bytes, a byte that says what it is,
// and its content. First each end says hello and tells the heartbeats it has
// heard. The end that dialled then sends its digests of all buckets, gets lists
// of those that differ, sends what the other lacks and asks for what it lacks
// itself. From then on each end sends what is new. Every 15 s both tell the sum
// of their digests; when it differs, and when an end could not keep up, the
// digests are compared again.
//
// What is new goes to whoever dialled at once. Whoever dialled sends its own
// records at once, and those of others only after some seconds in which the
// accepting end did not send them itself: then the two proxies that a server is
// attached to cannot reach each other, and it is the bridge.
package sync
