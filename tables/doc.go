// Package tables keeps what a node knows: which reverse proxies and mappings
// exist, and which ports it has promised. It owns the state directory and the
// files in it. Own changes are committed to a journal, a line with a checksum
// each, synced before Commit returns; reverse_proxy_server.json,
// reverse_proxy_mapping.json and ip_table.json are snapshots for people, for
// programs and for the views, which add the journal's tail to them and need
// neither a lock nor a running node.
//
// Not here: who a node is (identity), what nodes say to each other (peerapi),
// what they pass on about third ones (record) and how it travels (sync, mesh),
// who may have a port (lease), and how a row is proved (package supervisor).
package tables
