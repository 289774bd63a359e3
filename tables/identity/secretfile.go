package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// secretPerm is the mode of every file that holds a key or a token.
const secretPerm = 0o600

// maxSecretFile bounds a file with one key or token, in bytes.
const maxSecretFile = 16 << 10

// readSecret reads a small file that only its owner can read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, cause(err))
	}
	defer f.Close()
	// The open file is asked, not the path: nobody can swap it in between.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, cause(err))
	}
	if err := checkPrivate(info); err != nil {
		return nil, fmt.Errorf("reading %s: %w: chmod 600 %s", path, err, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, cause(err))
	}
	if len(b) > maxSecretFile {
		return nil, fmt.Errorf("reading %s: it is larger than %d bytes", path, maxSecretFile)
	}
	return b, nil
}

// cause strips the operation and path that os puts before it: ours say them.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
