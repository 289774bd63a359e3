//go:build race

package record_test

// raced: the race detector makes everything ten times as slow.
const raced = true
