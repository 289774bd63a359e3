package identity

import "io/fs"

// checkPrivate accepts every file: on Windows the access list of the private
// directory decides, and the mode bits that Go shows say nothing about it.
func checkPrivate(fs.FileInfo) error { return nil }
