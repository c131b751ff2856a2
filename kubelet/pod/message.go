package pod

import (
	"bytes"
	"io"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// Limits of termination messages.
const (
	maxMessage   = 4096
	maxFallback  = 2048
	fallbackLine = 80
)

// terminationMessage is what a container that exited says: what it wrote to its file, else, where its policy asks for that and it
// failed, the end of its log, else what the runtime says.
func terminationMessage(c cri.Container) string {
	if text := strings.TrimSpace(tail(c.TerminationLog, maxMessage)); text != "" {
		return tail(c.TerminationLog, maxMessage)
	}
	if c.ExitCode != 0 && c.Annotations[cri.AnnotationTerminationPolicy] == string(corev1.TerminationMessageFallbackToLogsOnError) {
		if text := logTail(c.LogPath); text != "" {
			return text
		}
	}
	return c.Message
}

// tail reads the last bytes of a file; nothing when it can't be read.
func tail(path string, most int64) string {
	if path == "" {
		return ""
	}
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	if info.Size() > most {
		if _, err := file.Seek(-most, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return ""
	}
	return string(text)
}

// logTail answers the last lines of a log in the runtime's format, without times, streams and tags.
func logTail(path string) string {
	raw := []byte(tail(path, 4*maxFallback))
	if newline := bytes.IndexByte(raw, '\n'); len(raw) == 4*maxFallback && newline >= 0 {
		raw = raw[newline+1:]
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	if len(lines) > fallbackLine {
		lines = lines[len(lines)-fallbackLine-1:]
	}
	var out []byte
	for _, line := range lines {
		if fields := bytes.SplitN(line, []byte(" "), 4); len(fields) == 4 {
			text := fields[3]
			if bytes.Equal(fields[2], []byte("P")) {
				text = bytes.TrimSuffix(text, []byte("\n"))
			}
			out = append(out, text...)
		}
	}
	if len(out) > maxFallback {
		out = out[len(out)-maxFallback:]
	}
	return string(out)
}
