package attachdetach

import (
	"strconv"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics"
)

// The operations that are counted, and their results.
const (
	attaching = "volume_attach"
	detaching = "volume_detach"

	resultSuccess = "success"
	resultFailure = "fail-unknown"
)

// operation is what a driver was asked to do.
type operation struct {
	name, driver string
	// migrated says that the volume is one of a driver that was part of Kubernetes.
	migrated bool
	uid      types.UID
	// began is when it was asked, or asked again after a failure; told is when the driver says that this one was.
	began, told time.Time
}

// outcome answers how the operation ended, given the attachment as it is, nil if it is gone: over without a result,
// succeeded or failed; "" while it goes on. told is when the driver says that it failed.
func (o operation) outcome(a *storagev1.VolumeAttachment, now time.Time) (result string, over bool, told time.Time) {
	if a != nil && a.UID != o.uid {
		a = nil
	}
	var problem *storagev1.VolumeError
	switch {
	case o.name == detaching && a == nil:
		return resultSuccess, true, told
	case o.name == detaching:
		problem = a.Status.DetachError
	case a == nil || a.DeletionTimestamp != nil:
		return "", true, told
	case a.Status.Attached:
		return resultSuccess, true, told
	default:
		problem = a.Status.AttachError
	}
	switch {
	case problem != nil && !problem.Time.Time.Equal(o.told):
		return resultFailure, false, problem.Time.Time
	case problem == nil && now.Sub(o.began) >= AttachTimeout:
		return resultFailure, false, o.told
	}
	return "", false, o.told
}

// operations measures how long drivers take. It is used by one worker.
type operations struct {
	seconds *metrics.HistogramVec
	running map[string]map[string]operation // by node, then by attachment
}

func newOperations() *operations {
	return &operations{running: map[string]map[string]operation{}, seconds: metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name: "storage_operation_duration_seconds", Help: "Storage operation duration", StabilityLevel: metrics.BETA,
		Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600},
	}, []string{"volume_plugin", "operation_name", "status", "migrated"})}
}

// begin notes an operation of which the attachment will tell the end.
func (l *operations) begin(node, attachment string, o operation) {
	if l.running[node] == nil {
		l.running[node] = map[string]operation{}
	}
	l.running[node][attachment] = o
}

// look counts what has ended on the node. find answers an attachment, nil if it is gone.
func (l *operations) look(node string, find func(name string) *storagev1.VolumeAttachment, now time.Time) {
	for name, o := range l.running[node] {
		result, over, told := o.outcome(find(name), now)
		if result != "" {
			l.count(o, result, now)
			o.began = now
		}
		o.told = told
		l.running[node][name] = o
		if over {
			delete(l.running[node], name)
		}
	}
	if len(l.running[node]) == 0 {
		delete(l.running, node)
	}
}

func (l *operations) count(o operation, result string, now time.Time) {
	l.seconds.WithLabelValues(plugin+":"+o.driver, o.name, result, strconv.FormatBool(o.migrated)).Observe(now.Sub(o.began).Seconds())
}
