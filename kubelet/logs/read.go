package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/klog/v2"
)

// Options select what of a log is read, and how it is written out.
type Options struct {
	Follow bool
	// Tail is how many lines from the end to begin with; nil means all.
	Tail *int64
	// Since drops what was written before it.
	Since time.Time
	// LimitBytes ends the output after that many bytes; nil means never.
	LimitBytes *int64
	// Timestamps puts its time before each line.
	Timestamps bool
	// Stream selects one of the outputs; empty means both.
	Stream Stream
}

// timestampFormat is RFC 3339 with all digits of the fraction, so that lines align.
const timestampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Source is the log of one container.
type Source struct {
	// Path is the file the runtime writes to now.
	Path string
	// Running says whether it may still write; nil means it does not.
	Running func() bool
}

// errLimit ends reading when the output is as long as it may be.
var errLimit = errors.New("the limit of bytes is reached")

// Flusher is implemented by outputs that buffer: it is called when a follower has written all there is for now.
type Flusher interface {
	Flush() error
}

// Read writes a log out. With Follow it goes on, over rotations of the file, until the container ends or ctx does.
func Read(ctx context.Context, source Source, options Options, out io.Writer) error {
	file, err := os.Open(source.Path)
	if err != nil {
		return fmt.Errorf("failed to try resolving symlinks in path %q: %w", source.Path, err)
	}
	r := &reader{source: source, options: options, out: &printer{options: options, out: out, atStart: true}, file: file}
	defer func() { _ = r.file.Close() }()
	if err := r.seekTail(); err != nil {
		return err
	}
	if !options.Follow {
		err = r.drain(ctx, true)
	} else {
		err = r.follow(ctx)
	}
	if errors.Is(err, errLimit) || ctx.Err() != nil {
		return nil
	}
	return err
}

// reader is one reading of a log.
type reader struct {
	source  Source
	options Options
	out     *printer
	file    *os.File
	lines   *bufio.Reader
	partial []byte // beginning of a line the runtime has not finished writing
}

// seekTail moves to where the output begins.
func (r *reader) seekTail() error {
	if r.options.Tail != nil {
		info, err := r.file.Stat()
		if err != nil {
			return fmt.Errorf("examining a log: %w", err)
		}
		start, err := tailStart(r.file, info.Size(), *r.options.Tail)
		if err != nil {
			return err
		}
		if _, err := r.file.Seek(start, io.SeekStart); err != nil {
			return fmt.Errorf("moving to the end of a log: %w", err)
		}
	}
	r.lines = bufio.NewReader(r.file)
	return nil
}

// drain writes out all there is. Whether the last line is whole matters only if more may come: last says none will.
func (r *reader) drain(ctx context.Context, last bool) error {
	for ctx.Err() == nil {
		piece, err := r.lines.ReadSlice('\n')
		r.partial = append(r.partial, piece...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading a log: %w", err)
		}
		if err != nil && (!last || len(r.partial) == 0) {
			return nil
		}
		if err := r.put(ctx, r.partial); err != nil {
			return err
		}
		r.partial = r.partial[:0]
	}
	return ctx.Err()
}

// put writes one line out. What is no log line is skipped: a crash of the runtime may leave one.
func (r *reader) put(ctx context.Context, raw []byte) error {
	line, err := Parse(raw)
	if err != nil {
		klog.FromContext(ctx).V(4).Info("Skipping what is not a log line", "path", r.source.Path, "reason", err.Error())
		return nil
	}
	return r.out.put(line)
}

// printer writes lines as a user sees them.
type printer struct {
	options Options
	out     io.Writer
	written int64
	atStart bool // the next content begins a line
}

func (p *printer) put(line Line) error {
	if p.options.Stream != "" && line.Stream != p.options.Stream || line.Time.Before(p.options.Since) {
		return nil
	}
	text := make([]byte, 0, len(timestampFormat)+len(line.Content)+2)
	if p.options.Timestamps && p.atStart {
		text = append(line.Time.AppendFormat(text, timestampFormat), ' ')
	}
	text = append(text, line.Content...)
	if !line.Partial {
		text = append(text, '\n')
	}
	p.atStart = !line.Partial
	return p.write(text)
}

func (p *printer) flush() error {
	if f, ok := p.out.(Flusher); ok {
		return f.Flush()
	}
	return nil
}

func (p *printer) write(text []byte) error {
	limited := false
	if p.options.LimitBytes != nil && p.written+int64(len(text)) >= *p.options.LimitBytes {
		text, limited = text[:*p.options.LimitBytes-p.written], true
	}
	n, err := p.out.Write(text)
	p.written += int64(n)
	if err != nil {
		return fmt.Errorf("writing a log out: %w", err)
	}
	if limited {
		return errLimit
	}
	return nil
}
