package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/klog/v2"

	"skiff/kubelet/cri"
)

var errRuntimeDown = errors.New("container runtime is down")

// startInterval is how often a node that has not been ready yet looks whether it is: nothing runs before it.
const startInterval = 100 * time.Millisecond

func notReady(status cri.Status) error {
	if status.Reason != "" {
		return errors.New(status.Reason)
	}
	return errors.New("container runtime status check may not have completed yet")
}

// runtimeVersion is a runtime's name and version as a Node gives them.
func runtimeVersion(name, version string) string {
	return name + "://" + strings.TrimPrefix(version, "v")
}

// reportStatus observes and reports until ctx ends.
func (r *Reporter) reportStatus(ctx context.Context) {
	var reported time.Time
	var everReady bool
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.poked:
		case <-timer.C:
		}
		if at, err := r.reportOnce(ctx, reported); err == nil {
			reported = at
		} else if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Reporting the node's status failed", "node", r.config.Name)
		}
		everReady = everReady || r.Ready()
		if everReady {
			timer.Reset(r.config.StatusInterval)
		} else {
			timer.Reset(min(startInterval, r.config.StatusInterval))
		}
	}
}

// reportOnce reports if the status changed or the last report is old, and answers when the last report was made.
func (r *Reporter) reportOnce(ctx context.Context, reported time.Time) (time.Time, error) {
	current := r.latest.get()
	now := time.Now()
	wanted := decide(current.Status, r.observe(ctx), now)
	if ctx.Err() != nil {
		return reported, ctx.Err()
	}
	if now.Sub(reported) < r.config.ReportInterval && !differs(&current.Status, &wanted) {
		return reported, nil
	}
	patch, err := statusPatch(current, wanted)
	if err != nil {
		return reported, err
	}
	patched, err := r.deps.Client.CoreV1().Nodes().Patch(ctx, current.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		r.resync(ctx)
		return reported, fmt.Errorf("patching the status of node %s: %w", current.Name, err)
	}
	r.latest.observed(patched)
	r.stateEvents(changedConditions(current.Status.Conditions, wanted.Conditions))
	return now, nil
}

// resync reads the Node again, for a patch that failed may have been made from an object that is not the present one.
func (r *Reporter) resync(ctx context.Context) {
	if node, err := r.deps.Client.CoreV1().Nodes().Get(ctx, r.config.Name, metav1.GetOptions{}); err == nil {
		r.latest.set(node)
	}
}

// differs compares statuses but for the times of their conditions.
func differs(a, b *corev1.NodeStatus) bool {
	return !equality.Semantic.DeepEqual(timeless(a), timeless(b))
}

func timeless(status *corev1.NodeStatus) *corev1.NodeStatus {
	copied := *status
	copied.Conditions = make([]corev1.NodeCondition, 0, len(status.Conditions))
	for _, c := range status.Conditions {
		c.LastHeartbeatTime, c.LastTransitionTime = metav1.Time{}, metav1.Time{}
		copied.Conditions = append(copied.Conditions, c)
	}
	return &copied
}

// statusPatch changes the status of current to wanted and touches nothing else.
func statusPatch(current *corev1.Node, wanted corev1.NodeStatus) ([]byte, error) {
	next := current.DeepCopy()
	next.Status = wanted
	before, err := json.Marshal(current)
	if err != nil {
		return nil, fmt.Errorf("encoding a node: %w", err)
	}
	after, err := json.Marshal(next)
	if err != nil {
		return nil, fmt.Errorf("encoding a node: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Node{})
	if err != nil {
		return nil, fmt.Errorf("comparing a node's statuses: %w", err)
	}
	return replaceAddresses(patch, wanted.Addresses)
}

// replaceAddresses makes a patch that has addresses replace them all: merging them by type, as a strategic merge would,
// loses one of two addresses of the same type.
func replaceAddresses(patch []byte, list []corev1.NodeAddress) ([]byte, error) {
	var decoded map[string]any
	if err := json.Unmarshal(patch, &decoded); err != nil {
		return nil, fmt.Errorf("decoding a status patch: %w", err)
	}
	status, ok := decoded["status"].(map[string]any)
	if !ok {
		return patch, nil
	}
	if _, ok := status["addresses"]; !ok {
		return patch, nil
	}
	delete(status, "$setElementOrder/addresses")
	entries := make([]any, 0, len(list)+1)
	for _, address := range list {
		entries = append(entries, address)
	}
	status["addresses"] = append(entries, map[string]string{"$patch": "replace"})
	return json.Marshal(decoded)
}
