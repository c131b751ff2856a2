package report

import (
	"fmt"
	"html"
	"strings"
)

// Sizes of the plot in pixels.
const (
	rowHeight, top = 22, 34
	left, scale    = 330, 420 // where the bars begin; the length of theirs
	width          = left + scale + 130
)

// SVG draws one bar a figure: how much ours is of theirs, which is the full
// length, with a mark where the target is. Where more is better the ratio is
// turned around, so that a short bar is always good.
func (r *Report) SVG(title string) string {
	var b strings.Builder
	height := top + rowHeight*len(r.rows) + 12
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="8" y="18" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	for i, x := range r.rows {
		r.bar(&b, x, top+rowHeight*i)
	}
	bottom := height - 8
	fmt.Fprintf(&b, `<line x1="%[1]d" y1="%[2]d" x2="%[1]d" y2="%[3]d" stroke="#888"/><text x="%[4]d" y="18" fill="#555">%[5]s</text>`+"\n</svg>\n",
		left+scale, top-6, bottom, left+scale-30, html.EscapeString(r.Theirs))
	return b.String()
}

func (r *Report) bar(b *strings.Builder, x *row, y int) {
	ratio, target := median(x.ratios()), x.Target
	if x.More && ratio > 0 {
		ratio = 1 / ratio
	}
	if x.More && target > 0 {
		target = 1 / target
	}
	color := "#2a7ab9"
	if x.missed() {
		color = "#c0392b"
	}
	length := int(min(ratio, 1.25) * scale)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+14, html.EscapeString(x.Name))
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`, left, y+3, length, rowHeight-8, color)
	if target > 0 {
		at := left + int(target*scale)
		fmt.Fprintf(b, `<line x1="%[1]d" y1="%[2]d" x2="%[1]d" y2="%[3]d" stroke="#222" stroke-width="2"/>`, at, y, y+rowHeight-2)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">%.2f</text>`+"\n", left+length+6, y+14, ratio)
}
