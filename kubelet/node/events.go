package node

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// event records an event about the node. Nodes have no namespace and are referred to by name, also as their UID.
func (r *Reporter) event(kind, reason, message string) {
	if r.deps.Events == nil {
		return
	}
	ref := &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: r.config.Name, UID: types.UID(r.config.Name)}
	r.deps.Events.Event(ref, kind, reason, message)
}

// stateEvent tells that the node's state became what reason says.
func (r *Reporter) stateEvent(reason string) {
	r.event(corev1.EventTypeNormal, reason, "Node "+r.config.Name+" status is now: "+reason)
}

// stateEvents tells the given conditions.
func (r *Reporter) stateEvents(changed []corev1.NodeCondition) {
	for _, c := range changed {
		if reason := eventReason(c); reason != "" {
			r.stateEvent(reason)
		}
	}
}

// eventReason is the reason of the event that tells a condition.
func eventReason(c corev1.NodeCondition) string {
	holds := c.Status == corev1.ConditionTrue
	switch c.Type {
	case corev1.NodeMemoryPressure:
		return memoryVerdict(holds).event
	case corev1.NodeDiskPressure:
		return diskVerdict(holds).event
	case corev1.NodePIDPressure:
		return pidVerdict(holds).event
	case corev1.NodeReady:
		if holds {
			return readyVerdict("").event
		}
		return readyVerdict(c.Message).event
	}
	return ""
}

// changedConditions are those of after whose status is another than in before.
func changedConditions(before, after []corev1.NodeCondition) []corev1.NodeCondition {
	var changed []corev1.NodeCondition
	for _, c := range after {
		if was := find(before, c.Type); was == nil || was.Status != c.Status {
			changed = append(changed, c)
		}
	}
	return changed
}
