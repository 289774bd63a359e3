// Package peerapi is how nodes talk: the one public TCP port of every node,
// the node API that a reverse proxy answers there, and the client that servers
// ask it with. Not here: what is answered (Service, in supervisor), who a node
// is (tables/identity), and the canary's bytes (supervisor/proof).
//
// The first byte of a connection says what it is: 0x16 a TLS handshake, 0x00
// the canary, anything else HTTP/1.1, which gets GET /server_info and no more.
// Under TLS both ends have proved their keys before a byte of ours is read, and
// the ALPN says what is spoken.
//
// Nothing here trusts an address: through frp every stranger comes from
// 127.0.0.1.
package peerapi
