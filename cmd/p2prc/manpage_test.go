package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestManPage_everyFlag(t *testing.T) {
	for name, app := range grammars(t) {
		page := manPage(app, "1.0")
		for _, flag := range allFlags(app.Node) {
			for _, word := range spellings(flag) {
				if !strings.Contains(page, `\fB`+escape(word)+`\fR`) {
					t.Errorf("%s: there is no %s", name, word)
				}
			}
		}
		for _, verb := range verbs(app) {
			if !strings.Contains(page, ".SS "+quote(synopsis(verb))) {
				t.Errorf("%s: there is no %s", name, verb.Name)
			}
		}
	}
}

func TestHelp_verbs(t *testing.T) {
	text := help(grammars(t)["verbs"])
	if !regexp.MustCompile(`(?m)^Commands:\n(?:.*\n)*  frob THING\.\.\. +Frob a 'thing' \(it's \[new\]\)\.\n      --hard HOW +Frob it hard\.$`).MatchString(text) {
		t.Error(text)
	}
}

func TestManPage_format(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("there is no groff")
	}
	for name, app := range grammars(t) {
		cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-P-cbou")
		cmd.Stdin = strings.NewReader(manPage(app, "1.0"))
		var out, complaints bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaints
		if err := cmd.Run(); err != nil || complaints.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, complaints.String())
		}
		for _, want := range []string{"'p2prc://HOST:PORT#PIN/TOKEN'", "--connect-reverse-proxy HOST", "$XDG_STATE_HOME/p2prc"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: the page does not say %s", name, want)
			}
		}
	}
}

// TestExitCode_documents keeps --help and the man page with the code.
func TestExitCode_documents(t *testing.T) {
	app := grammars(t)["flags"]
	want := map[int]string{}
	for _, e := range exitCodes {
		want[e.code] = e.meaning
	}
	unescape := strings.NewReplacer(`\-`, "-")
	_, section, _ := strings.Cut(manPage(app, "1.0"), ".SH \"EXIT STATUS\"\n")
	section, _, _ = strings.Cut(section, ".SH ")
	for name, rows := range map[string][][]string{
		"--help":       regexp.MustCompile(`(?m)^ {2,4}(\d+)  (.*)$`).FindAllStringSubmatch(help(app), -1),
		"the man page": regexp.MustCompile(`(?m)^\.B "(\d+)"\n(.*)$`).FindAllStringSubmatch(unescape.Replace(section), -1),
	} {
		got := map[int]string{}
		for _, row := range rows {
			code, err := strconv.Atoi(row[1])
			if err != nil {
				t.Fatal(err)
			}
			got[code] = row[2]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s and exit.go differ (-exit.go +%s)\n%s", name, name, diff)
		}
	}
}

// TestFiles_README keeps the documented table and the code together.
func TestFiles_README(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		row := "| `" + strings.Join(f.names, "`, `") + "` | " + f.what + " |\n"
		if !strings.Contains(string(text), row) {
			t.Errorf("README.md lacks %s", row)
		}
	}
}

// TestEnvironment_complete looks for variables in the code that no table has.
func TestEnvironment_complete(t *testing.T) {
	// Windows knows no man, and the failpoints are in no p2prc that anybody gets.
	known := map[string]bool{"LOCALAPPDATA": true, "WT_SESSION": true, "P2PRC_FAILPOINT": true}
	for _, e := range environment {
		for name := range strings.SplitSeq(e.name, ", ") {
			known[name] = true
		}
	}
	asks := regexp.MustCompile(`(?i:(?:get|lookup|unset)env|lookup)\("([A-Z0-9_]+)"\)`)
	for _, room := range []string{"../../cmd", "../../supervisor", "../../tables", "../../frpconf"} {
		err := filepath.WalkDir(room, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range asks.FindAllStringSubmatch(string(text), -1) {
				if !known[m[1]] {
					t.Errorf("%s asks for $%s, which the man page does not explain", path, m[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
