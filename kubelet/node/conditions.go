package node

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verdict is one condition without its times.
type verdict struct {
	kind            corev1.NodeConditionType
	holds           bool
	reason, message string
	event           string // reason of the event that tells a change to this verdict
}

// verdicts judges an observation, in the order conditions are listed.
func verdicts(o observation) []verdict {
	return []verdict{
		memoryVerdict(o.pressure.Memory),
		diskVerdict(o.pressure.Disk),
		pidVerdict(o.pressure.PID),
		readyVerdict(o.notReady),
	}
}

func memoryVerdict(short bool) verdict {
	if short {
		return verdict{
			corev1.NodeMemoryPressure, true, "KubeletHasInsufficientMemory",
			"kubelet has insufficient memory available", "NodeHasInsufficientMemory",
		}
	}
	return verdict{
		corev1.NodeMemoryPressure, false, "KubeletHasSufficientMemory",
		"kubelet has sufficient memory available", "NodeHasSufficientMemory",
	}
}

func diskVerdict(short bool) verdict {
	if short {
		return verdict{
			corev1.NodeDiskPressure, true, "KubeletHasDiskPressure",
			"kubelet has disk pressure", "NodeHasDiskPressure",
		}
	}
	return verdict{
		corev1.NodeDiskPressure, false, "KubeletHasNoDiskPressure",
		"kubelet has no disk pressure", "NodeHasNoDiskPressure",
	}
}

func pidVerdict(short bool) verdict {
	if short {
		return verdict{
			corev1.NodePIDPressure, true, "KubeletHasInsufficientPID",
			"kubelet has insufficient PID available", "NodeHasInsufficientPID",
		}
	}
	return verdict{
		corev1.NodePIDPressure, false, "KubeletHasSufficientPID",
		"kubelet has sufficient PID available", "NodeHasSufficientPID",
	}
}

func readyVerdict(problem string) verdict {
	if problem != "" {
		return verdict{corev1.NodeReady, false, "KubeletNotReady", problem, "NodeNotReady"}
	}
	return verdict{corev1.NodeReady, true, "KubeletReady", "kubelet is posting ready status", "NodeReady"}
}

// condition is the verdict as a condition: its transition is now unless the previous condition had the same status.
func (v verdict) condition(previous []corev1.NodeCondition, now time.Time) corev1.NodeCondition {
	status := corev1.ConditionFalse
	if v.holds {
		status = corev1.ConditionTrue
	}
	c := corev1.NodeCondition{
		Type: v.kind, Status: status, Reason: v.reason, Message: v.message,
		LastHeartbeatTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	if before := find(previous, v.kind); before != nil && before.Status == status {
		c.LastTransitionTime = before.LastTransitionTime
	}
	return c
}

// conditions are all verdicts as conditions, followed by the conditions that others maintain.
func conditions(previous []corev1.NodeCondition, o observation, now time.Time) []corev1.NodeCondition {
	judged := verdicts(o)
	var result []corev1.NodeCondition
	for i := range previous {
		if !isJudged(judged, previous[i].Type) {
			result = append(result, previous[i])
		}
	}
	for _, v := range judged {
		result = append(result, v.condition(previous, now))
	}
	return result
}

func isJudged(judged []verdict, kind corev1.NodeConditionType) bool {
	for _, v := range judged {
		if v.kind == kind {
			return true
		}
	}
	return false
}

func find(list []corev1.NodeCondition, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range list {
		if list[i].Type == kind {
			return &list[i]
		}
	}
	return nil
}
