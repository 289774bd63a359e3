package record

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"p2prc/tables/atomicfile"
)

// The file of known records is keepPrefix, each record behind its length in two
// bytes, a zero length, and the CRC-32C of all that.
const (
	keepPrefix = "p2prc-known-v1\n"
	maxKeep    = 512 << 20 // far more than 200,000 records
	keepEvery  = 5 * time.Minute
	brokenMark = ".corrupt"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Keep writes what a set learned to a file, so that a node knows where to begin
// after a restart. It is a cache: peers know all of it too.
type Keep struct {
	Set  *Set
	Path string
	Now  func() time.Time
	Log  *slog.Logger

	saved Digest // what the file holds
}

// Load takes in what an earlier process kept. A broken file is moved aside and
// is no error. Signatures are not checked again: whoever can write to the
// private directory is this node anyway.
func (k *Keep) Load() error {
	b, err := readKept(k.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("loading known records: %w", err)
	}
	records, err := decodeKept(b)
	if err != nil {
		k.Log.Warn("the known records cannot be read: the file is kept, and peers know them too",
			"path", k.Path+brokenMark, "err", err)
		if err := os.Rename(k.Path, k.Path+brokenMark); err != nil {
			return fmt.Errorf("setting broken known records aside: %w", err)
		}
		return nil
	}
	now := k.Now()
	k.Set.mu.Lock()
	defer k.Set.mu.Unlock()
	for _, r := range records {
		if !r.Live(now) || r.Issued.After(now.Add(MaxSkew)) {
			continue
		}
		known, err := k.Set.weigh(r, now)
		// What was let in once stays in, whoever is not verified by now.
		if !known && (err == nil || errors.Is(err, ErrQuota) && k.Set.room.all < k.Set.room.limits.Records) {
			k.Set.put(r, "")
		}
	}
	k.saved = k.Set.total.digest()
	return nil
}

// Save writes the file now.
func (k *Keep) Save() error {
	sum := k.Set.Sum()
	var buf bytes.Buffer
	buf.WriteString(keepPrefix)
	for _, r := range k.Set.All(k.Now()) {
		if !inDigest(r) {
			continue // it would be over before anyone reads it
		}
		_ = binary.Write(&buf, binary.BigEndian, uint16(len(r.raw))) // a Buffer takes everything
		buf.WriteString(r.raw)
	}
	buf.Write([]byte{0, 0})
	_ = binary.Write(&buf, binary.BigEndian, crc32.Checksum(buf.Bytes(), castagnoli))
	if err := atomicfile.Write(k.Path, buf.Bytes(), 0o600); err != nil {
		return err
	}
	k.saved = sum // or older than the file: then it is written once too often
	return nil
}

// String names it in the log of whoever supervises it.
func (k *Keep) String() string { return "known records" }

// Serve lets go of what has expired, and saves what changed every few minutes
// and in the end.
func (k *Keep) Serve(ctx context.Context) error {
	expire := time.NewTicker(BeatEvery)
	defer expire.Stop()
	save := time.NewTicker(keepEvery)
	defer save.Stop()
	for {
		end := false
		select {
		case <-expire.C:
			k.Set.Expire(k.Now())
			continue
		case <-save.C:
		case <-ctx.Done():
			end = true
		}
		if k.Set.Sum() != k.saved {
			if err := k.Save(); err != nil {
				k.Log.Warn("keeping known records", "err", err)
			}
		}
		if end {
			return nil
		}
	}
}

func readKept(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(bufio.NewReader(f), maxKeep))
}

var errKept = errors.New("it is not as it was written")

func decodeKept(b []byte) ([]*Record, error) {
	if len(b) < len(keepPrefix)+2+crc32.Size || string(b[:len(keepPrefix)]) != keepPrefix {
		return nil, errKept
	}
	end := len(b) - crc32.Size
	if binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, errKept
	}
	var out []*Record
	for b = b[len(keepPrefix):end]; ; {
		n := int(binary.BigEndian.Uint16(b))
		b = b[2:]
		if n == 0 && len(b) == 0 {
			return out, nil
		}
		if n == 0 || n+2 > len(b) {
			return nil, errKept
		}
		r, err := Parse(b[:n])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		b = b[n:]
	}
}
