package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n\ngo 1.26\n",
		"a/a_test.go": `package a

import "testing"

func TestGood(t *testing.T) { t.Log("nobody wants to read this") }

func TestBad(t *testing.T) { t.Error("this one matters") }

func TestNot(t *testing.T) { t.Skip("no such machine") }
`,
		"b/b_test.go": `package b

import (
	"os"
	"testing"
)

func TestDies(t *testing.T) {
	t.Log("last words")
	os.Exit(3)
}
`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out, stderr bytes.Buffer
	code, err := run([]string{"./..."}, &out, &stderr)
	if err != nil || code != 1 {
		t.Errorf("code %d, error %v, stderr %s", code, err, &stderr)
	}
	got := out.String()
	for _, want := range []string{"this one matters", "last words", "FAIL\tm/b", "skipped: m/a TestNot: no such machine\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(got, "nobody wants") {
		t.Error("what a good test printed is shown")
	}
	if !strings.HasSuffix(got, "1 passed, 2 failed, 1 skipped\n") {
		t.Errorf("it ends with %q", got[max(0, len(got)-60):])
	}
	if t.Failed() {
		t.Log(got)
	}
}
