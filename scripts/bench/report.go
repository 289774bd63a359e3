package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// schema is the version of the JSON report: fields are only added within one.
const schema = 1

// report is a whole run.
type report struct {
	Schema   int               `json:"schema"`
	Started  time.Time         `json:"started"`
	Took     float64           `json:"took_s"`
	Runs     int               `json:"runs"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Results  []result          `json:"results"`
}

// result is p2prc beside bare frp in one respect.
type result struct {
	Name  string  `json:"name"`
	What  string  `json:"what"`
	Unit  unit    `json:"unit,omitempty"`
	P2PRC samples `json:"p2prc,omitzero"`
	Bare  samples `json:"bare,omitzero"`
	Ratio float64 `json:"ratio,omitempty"` // of the medians
	Aims  []aim   `json:"aims,omitempty"`
	Error string  `json:"error,omitempty"` // why it could not be measured
}

// aim is a promise about p2prc's median.
type aim struct {
	Text    string  `json:"text"`
	Limit   float64 `json:"limit"`
	Got     float64 `json:"got"`
	Reached bool    `json:"reached"`
}

// compare makes a result of two rows of samples; bare may have none.
func compare(name, what string, u unit, p2prc, bare samples) result {
	r := result{Name: name, What: what, Unit: u, P2PRC: p2prc, Bare: bare}
	if len(p2prc) > 0 && len(bare) > 0 && bare.median() > 0 {
		r.Ratio = p2prc.median() / bare.median()
	}
	return r
}

// below promises a median below limit.
func (r result) below(limit float64) result {
	got := r.P2PRC.median()
	r.Aims = append(r.Aims, aim{"< " + r.Unit.show(limit), limit, got, got < limit})
	return r
}

// atMost promises a median of at most limit.
func (r result) atMost(limit float64) result {
	got := r.P2PRC.median()
	r.Aims = append(r.Aims, aim{"<= " + r.Unit.show(limit), limit, got, got <= limit})
	return r
}

// times promises at most limit times the median of bare frp.
func (r result) times(limit float64) result {
	r.Aims = append(r.Aims, aim{fmt.Sprintf("<= %.3gx", limit), limit, r.Ratio, r.Ratio <= limit})
	return r
}

// share promises at least limit times the median of bare frp.
func (r result) share(limit float64) result {
	r.Aims = append(r.Aims, aim{fmt.Sprintf(">= %.3gx", limit), limit, r.Ratio, r.Ratio >= limit})
	return r
}

// writeTable prints a line per result.
func (rep report) writeTable(out io.Writer) error {
	m := rep.Machine
	fmt.Fprintf(out, "%s/%s, %d cores (%s), %s; p2prc %s, frps %s, frpc %s\n", m.OS, m.Arch, m.CPUs, m.CPU,
		m.Go, rep.Versions["p2prc"], rep.Versions["frps"], rep.Versions["frpc"])
	fmt.Fprintf(out, "median [min - max] of %d, in turns with bare frp; load %s before, %s after\n\n",
		rep.Runs, m.LoadBefore, m.LoadAfter)
	tw := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "WHAT\tP2PRC\tBARE FRP\tRATIO\tAIM\tREACHED")
	for _, r := range rep.Results {
		if r.Error != "" {
			fmt.Fprintf(tw, "%s\tnot measured: %s\n", r.What, firstLine(r.Error))
			continue
		}
		bare, ratio := "-", "-"
		if len(r.Bare) > 0 {
			bare = r.Bare.span(r.Unit)
		}
		if r.Ratio > 0 {
			ratio = fmt.Sprintf("%.2fx", r.Ratio)
		}
		aims, reached := r.aims()
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", r.What, r.P2PRC.span(r.Unit), bare, ratio, aims, reached)
	}
	return tw.Flush()
}

// aims is the two last columns.
func (r result) aims() (texts, reached string) {
	if len(r.Aims) == 0 {
		return "-", "-"
	}
	var text, word []string
	for _, a := range r.Aims {
		text = append(text, a.Text)
		if a.Reached {
			word = append(word, "yes")
		} else {
			word = append(word, "no")
		}
	}
	return strings.Join(text, ", "), strings.Join(word, ", ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// writeJSON writes the report with every sample.
func (rep report) writeJSON(path string) error {
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
