// Package failpoint names the moments at which p2prc may be killed, so that a
// test can kill it there: at each of them a power cut or a kill -9 has to be
// survived. Not here: what has to hold afterwards (crash_linux_test.go).
//
// In a usual build Hit is empty and costs nothing. In one with the build tag
// `failpoint` the environment decides:
//
//	go build -tags failpoint ./cmd/p2prc
//	P2PRC_FAILPOINT=server-reserved   p2prc ...   # dies there
//	P2PRC_FAILPOINT=server-reported:3 p2prc ...   # dies there the third time
package failpoint
