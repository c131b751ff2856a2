package logs

import (
	"bytes"
	"fmt"
	"io"
)

// tailBlock is how much of a file is read at once when looking for its last lines, in bytes.
const tailBlock = 64 << 10

// tailStart answers the offset at which the last n whole lines of a log file of that size begin. A line the runtime cut
// into parts counts once. A last line that is not whole yet counts as one.
func tailStart(file io.ReaderAt, size, n int64) (int64, error) {
	if n <= 0 {
		return size, nil
	}
	var after []byte // the beginning of the line that starts in a block not read yet
	for end := size; end > 0; {
		start := max(0, end-tailBlock)
		block := make([]byte, end-start, end-start+int64(len(after)))
		if _, err := file.ReadAt(block, start); err != nil && err != io.EOF {
			return 0, fmt.Errorf("reading the end of a log: %w", err)
		}
		block = append(block, after...)
		var offset int64
		offset, n, after = scanBack(block, span{start, size}, n)
		if n < 0 {
			return offset, nil
		}
		end = start
	}
	return 0, nil
}

// span is where a block begins and how large its file is.
type span struct{ start, size int64 }

// scanBack counts whole lines from the end of a block. It answers the lines still to count, -1 if
// the first line wanted begins at offset; and what of the block belongs to a line that begins before it.
func scanBack(block []byte, at span, n int64) (offset, left int64, before []byte) {
	for len(block) > 0 {
		newline := bytes.LastIndexByte(block[:len(block)-1], '\n')
		if newline < 0 && at.start > 0 {
			return 0, n, block
		}
		end := at.start + int64(len(block))
		if end == at.size || endsLine(block[newline+1:]) {
			// The line wanted last has been passed, and this is the end of the one before it.
			if n == 0 {
				return end, -1, nil
			}
			n--
		}
		block = block[:newline+1]
	}
	return 0, n, nil
}

// endsLine says whether a raw line ends what the container wrote: it is full, or nothing that can be parsed.
func endsLine(raw []byte) bool {
	line, err := Parse(raw)
	return err != nil || !line.Partial
}
