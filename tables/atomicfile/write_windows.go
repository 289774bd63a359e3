package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// How long a rename waits for readers. A file that another process has open
// cannot be replaced on Windows, not even while a virus scanner looks at it;
// our own readers need well under a second for the largest table.
const (
	renamePatience = 2 * time.Second
	renamePause    = 5 * time.Millisecond
)

// write is the same in our own steps: renameio does not support Windows. A
// directory cannot be synced there; MOVEFILE_WRITE_THROUGH stands for it.
func write(path string, data []byte, perm fs.FileMode) error {
	return stage(path, data, perm, (*os.File).Sync)
}

func rename(from, to string) error {
	src, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	dst, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(renamePatience); ; {
		err := windows.MoveFileEx(src, dst, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
		busy := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !busy || time.Now().After(deadline) {
			return err
		}
		<-time.After(renamePause)
	}
}
