// Package report collects what the rounds of a benchmark measured on two sides
// and shows it as a table and as a plot.
package report

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Figure is something that is measured on both sides; less of it is better
// unless More is set.
type Figure struct {
	Name, Unit string
	Target     float64 // the most that ours may be of theirs, the least if More is set; 0 wants nothing
	More       bool
	Noisy      bool // depends on what else the machine does, as latencies do
}

// Report holds the rounds of every figure, in the order of their first round.
type Report struct {
	Ours, Theirs string // names of the sides
	rows         []*row
}

type row struct {
	Figure

	ours, theirs []float64
}

// Add records one round of a figure.
func (r *Report) Add(f Figure, ours, theirs float64) {
	i := slices.IndexFunc(r.rows, func(x *row) bool { return x.Name == f.Name })
	if i < 0 {
		i = len(r.rows)
		r.rows = append(r.rows, &row{Figure: f})
	}
	x := r.rows[i]
	x.ours, x.theirs = append(x.ours, ours), append(x.theirs, theirs)
}

// Missed names the figures whose median ratio is on the wrong side of their target.
func (r *Report) Missed() []string {
	var out []string
	for _, x := range r.rows {
		if !x.missed() {
			continue
		}
		limit := "at most"
		if x.More {
			limit = "at least"
		}
		out = append(out, fmt.Sprintf("%s: %.2f of %s, %s %.2f wanted", x.Name, median(x.ratios()), r.Theirs, limit, x.Target))
	}
	return out
}

func (x *row) missed() bool {
	ratio := median(x.ratios())
	if x.More {
		return ratio < x.Target
	}
	return x.Target > 0 && ratio > x.Target
}

// Markdown is a table with median, least and most of every figure. A ratio is
// the median of the ratios that single rounds had.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| figure | %s | %s | ratio | target |\n|---|---|---|---|---|\n", r.Ours, r.Theirs)
	for _, x := range r.rows {
		name := x.Name + ", " + x.Unit
		if x.Noisy {
			name += " *"
		}
		target := ""
		if x.Target > 0 {
			target = fmt.Sprintf("<= %.2f", x.Target)
			if x.More {
				target = fmt.Sprintf(">= %.2f", x.Target)
			}
			if x.missed() {
				target += " **missed**"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, spread(x.ours), spread(x.theirs), spread(x.ratios()), target)
	}
	return b.String()
}

// Write puts the table into NAME-table.md and the plot, with its title, into NAME.svg of dir, which is made if it is missing.
func (r *Report) Write(dir, name, title string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // part of the repository
		return fmt.Errorf("making the directory for the report: %w", err)
	}
	for file, content := range map[string]string{name + "-table.md": r.Markdown(), name + ".svg": r.SVG(title)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil { //nolint:gosec // part of the repository
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}

// ratios are ours to theirs, round by round.
func (x *row) ratios() []float64 {
	out := make([]float64, len(x.ours))
	for i := range out {
		out[i] = x.ours[i] / x.theirs[i]
	}
	return out
}

// spread shows the median with least and most.
func spread(values []float64) string {
	if len(values) == 1 {
		return number(values[0])
	}
	return fmt.Sprintf("%s (%s-%s)", number(median(values)), number(slices.Min(values)), number(slices.Max(values)))
}

// number shows three significant digits.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}
