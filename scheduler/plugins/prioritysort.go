package plugins

import "skiff/scheduler/framework"

// PrioritySort orders the queue by priority, then by time.
type PrioritySort struct{}

// Name implements framework.Plugin.
func (PrioritySort) Name() string { return "PrioritySort" }

// Less puts the higher priority first, and among equals the one queued earlier.
func (PrioritySort) Less(a, b framework.Queued) bool {
	if a.Pod.Priority != b.Pod.Priority {
		return a.Pod.Priority > b.Pod.Priority
	}
	return a.Enqueued.Before(b.Enqueued)
}
