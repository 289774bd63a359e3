package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"p2prc/tables/atomicfile"
)

// Run is what the run file holds: who the child is, and the facts of its Spec
// that a later p2prc needs.
//
// It is written twice at a start. The first time, before the fork, it has no PID
// but a Nonce that the child gets in its environment; were p2prc killed before
// the second time, Adopt finds the orphan by it.
type Run struct {
	FileFormat int       `json:"format"`
	Name       string    `json:"name"`
	PID        int       `json:"pid,omitempty"` // 0: p2prc was killed while it started the child
	Start      string    `json:"start,omitempty"`
	Boot       string    `json:"boot"`
	Exe        Exe       `json:"exe,omitzero"`
	Binary     Stamp     `json:"binary"`
	Nonce      string    `json:"nonce"`
	StartedAt  time.Time `json:"started_at"`

	Admin    Admin           `json:"admin"`
	Common   string          `json:"common"`
	Mappings string          `json:"mappings"`
	Extra    json.RawMessage `json:"extra,omitempty"`
}

// Exe tells which file a process runs, also after that file was replaced on
// disk. Where the system will not say, as for a binary with file capabilities
// on Linux, it is zero.
type Exe struct {
	Path string `json:"path"`
	Dev  uint64 `json:"dev,omitempty"`
	Ino  uint64 `json:"ino,omitempty"`
}

const (
	runFormat  = 1
	maxRunFile = 1 << 20
	// nonceKey is the variable in the child's environment that holds Run.Nonce.
	nonceKey = "P2PRC_RUN"
)

// errDamaged says that a run file cannot be made sense of.
var errDamaged = errors.New("the run file is damaged")

// ReadRun reads a run file. The child it names may be long gone: only Adopt
// tells.
func ReadRun(path string) (Run, error) {
	var r Run
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("reading the run file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRunFile+1))
	if err != nil {
		return r, fmt.Errorf("reading the run file: %w", err)
	}
	return decodeRun(b)
}

func decodeRun(b []byte) (Run, error) {
	if len(b) > maxRunFile {
		return Run{}, fmt.Errorf("%w: it is larger than %d bytes", errDamaged, maxRunFile)
	}
	var r Run
	if err := json.Unmarshal(b, &r); err != nil {
		// Not %w and no value: the cause may quote what stands in the file.
		return Run{}, fmt.Errorf("%w: it is not valid JSON", errDamaged)
	}
	switch {
	case r.FileFormat > runFormat:
		return Run{}, fmt.Errorf("the run file has format %d, written by a newer p2prc", r.FileFormat)
	case r.FileFormat < 1 || r.PID < 0 || r.Nonce == "":
		return Run{}, fmt.Errorf("%w: it names no child", errDamaged)
	}
	return r, nil
}

func (r Run) write(path string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("encoding the run file: %w", err)
	}
	// A run file names the boot it is from, so it need not outlive a power loss.
	return atomicfile.Replace(path, append(b, '\n'), 0o600)
}

// remove deletes the run file unless it already tells of another run.
func (r Run) remove(path string) error {
	if now, err := ReadRun(path); err == nil && now.Nonce != r.Nonce {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the run file: %w", err)
	}
	return nil
}

// Format prints the name and the pid only: the rest holds secrets.
func (r Run) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s (pid %d)", r.Name, r.PID) }

// LogValue is the Run in a log, without its secrets.
func (r Run) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }
