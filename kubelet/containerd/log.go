package containerd

import (
	"context"
	"io"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

// logger answers a containerd logger that passes warnings and errors to the context's logger, at verbosity 2 and 1. containerd logs a plugin's end
// with Fatal; here that must not end the process, so Fatal is an error like any other.
func logger(ctx context.Context) *log.Entry {
	sink := logrus.New()
	sink.SetOutput(io.Discard)
	sink.SetLevel(logrus.WarnLevel)
	sink.ExitFunc = func(int) {}
	sink.AddHook(&hook{klog.FromContext(ctx).WithName("containerd")})
	global := logrus.StandardLogger()
	global.SetOutput(io.Discard)
	global.SetLevel(logrus.WarnLevel)
	global.ReplaceHooks(sink.Hooks)
	return logrus.NewEntry(sink)
}

// hook hands containerd's records to a structured logger.
type hook struct{ to klog.Logger }

// Levels are those that an operator must see.
func (h *hook) Levels() []logrus.Level {
	return []logrus.Level{logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel, logrus.WarnLevel}
}

// Fire logs one record.
func (h *hook) Fire(entry *logrus.Entry) error {
	fields := make([]any, 0, 2*len(entry.Data))
	var cause error
	for key, value := range entry.Data {
		if err, ok := value.(error); ok && key == logrus.ErrorKey {
			cause = err
			continue
		}
		fields = append(fields, key, value)
	}
	if entry.Level <= logrus.FatalLevel {
		h.to.Error(cause, entry.Message, fields...)
		return nil
	}
	if cause != nil {
		fields = append(fields, "err", cause)
	}
	// A failed request is also its caller's to report, so containerd's own word on it is for who looks closer.
	h.to.V(int(entry.Level-logrus.FatalLevel)).Info(entry.Message, fields...)
	return nil
}
