// Package logs reads and rotates the log files container runtimes write, in the format of the CRI:
//
//	2016-10-06T00:17:09.669794202Z stdout P log content without its end
//	2016-10-06T00:17:10.113242941Z stderr F a whole line, or the end of one
//
// A line is one write of a container, cut where the runtime's buffer ended (P, partial) or the container wrote a
// newline (F, full). Further tags may follow the first, separated by colons.
package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Stream is one of a container's outputs.
type Stream string

// The outputs of a container.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Line is one parsed line of a log file.
type Line struct {
	Time    time.Time
	Stream  Stream
	Partial bool   // the line goes on in the next one of the same stream
	Content []byte // without the newline the file ends the line with; it shares the parsed buffer
}

var errFormat = errors.New("not a line of a container log")

// Parse parses one line, with or without its newline.
func Parse(raw []byte) (Line, error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	stamp, rest, ok := bytes.Cut(raw, []byte(" "))
	if !ok {
		return Line{}, fmt.Errorf("%w: no stream", errFormat)
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("%w: %w", errFormat, err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || Stream(stream) != Stdout && Stream(stream) != Stderr {
		return Line{}, fmt.Errorf("%w: unknown stream %q", errFormat, stream)
	}
	tags, content, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		// An empty line may have lost the space that ends its tags.
		tags = rest
	}
	tag, _, _ := bytes.Cut(tags, []byte(":"))
	if len(tag) != 1 || tag[0] != 'P' && tag[0] != 'F' {
		return Line{}, fmt.Errorf("%w: unknown tag %q", errFormat, tags)
	}
	return Line{Time: at, Stream: Stream(stream), Partial: tag[0] == 'P', Content: content}, nil
}
