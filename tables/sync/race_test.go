//go:build race

package sync_test

// raced: the race detector makes everything ten times as slow.
const raced = true
