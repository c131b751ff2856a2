package attachdetach

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The reasons of the events.
const (
	attachedReason = "SuccessfulAttachVolume"
	failedReason   = "FailedAttachVolume"
)

func timedOut(v *Volume) string {
	return fmt.Sprintf("timed out waiting for external-attacher of %s CSI driver to attach volume %s", v.Driver, v.Handle)
}

// message ends with a blank when there is nothing more to say, as upstream's do.
func message(what string, v *Volume, more string) string {
	return fmt.Sprintf("%s for volume %q %s", what, v.Title, more)
}

// waiting tells a pod why its volume can't be attached yet. Names of pods in other namespaces are not for its eyes.
func waiting(b Blocked, pod *corev1.Pod) string {
	var names []string
	strangers := 0
	for _, node := range b.Nodes {
		for _, p := range node.Pods {
			if p.Namespace == pod.Namespace {
				names = append(names, p.Name)
			} else {
				strangers++
			}
		}
	}
	more := "Volume is already exclusively attached to one node, waiting on detach before it can be attached to another node"
	switch {
	case len(names) > 0:
		more = "Volume is already used by pod(s) " + strings.Join(names, ", ")
		if strangers > 0 {
			more = fmt.Sprintf("%s and %d pod(s) in different namespaces", more, strangers)
		}
	case strangers > 0:
		more = fmt.Sprintf("Volume is already used by %d pod(s) in different namespaces", strangers)
	}
	return message("Waiting for detach", b.Volume, more)
}
