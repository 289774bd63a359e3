// Package record is what nodes tell each other about reverse proxies and
// mappings: signed records as exact bytes, the rule which of two is the newer,
// and the Set of all that a node knows by them. Not here: how records travel
// (tables/sync, tables/mesh), and what a node measured itself (package tables).
//
// A record is text of one field a line and a signature behind it:
//
//	p2prc-record-v1
//	proxy                    the kind
//	<node ID>                the owner, who signs
//	<public key>             of the owner, base64
//	proxy                    the subject: an owner has one record for each
//	1764076800000            the serial: the higher one of a subject holds
//	2026-11-25T13:20:00Z     issued
//	2026-11-26T13:20:00Z     expires
//	address 203.0.113.7      what the kind says, by name, in order
//
// A field that this version does not know is passed on as it came: what is
// stored and sent are the bytes that were signed.
package record
