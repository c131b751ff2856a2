package plugins

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"skiff/scheduler/framework"
)

// PreemptionExtender is a program outside of the scheduler that may have a say in whom preemption evicts.
type PreemptionExtender interface {
	Name() string
	// Preempts reports whether it has a say at all, Interested whether in this pod's preemptions.
	Preempts() bool
	Interested(pod *corev1.Pod) bool
	// Ignorable reports whether preemption goes on without it when it fails.
	Ignorable() bool
	// Preempt answers, of the nodes with their victims, those that remain with the victims it wants.
	Preempt(ctx context.Context, pod *corev1.Pod, victims map[string]*extenderv1.Victims) (map[string]*extenderv1.MetaVictims, error)
}

// extended asks the extenders about the candidates, each about what the ones before left. It fails when one of them does
// that may not be ignored.
func (p *DefaultPreemption) extended(ctx context.Context, c *framework.Cycle, candidates []candidate) ([]candidate, error) {
	for _, e := range p.extenders {
		if len(candidates) == 0 {
			break
		}
		if !e.Preempts() || !e.Interested(c.Pod.Pod) {
			continue
		}
		left, err := ask(ctx, e, c, candidates)
		if err != nil && e.Ignorable() {
			klog.FromContext(ctx).V(2).Info("skipping an extender that failed and may be ignored", "extender", e.Name(), "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		candidates = left
	}
	return candidates, nil
}

func ask(ctx context.Context, e PreemptionExtender, c *framework.Cycle, candidates []candidate) ([]candidate, error) {
	asked := map[string]*extenderv1.Victims{}
	for _, one := range candidates {
		v := &extenderv1.Victims{NumPDBViolations: int64(one.violations)}
		for _, pod := range one.victims {
			v.Pods = append(v.Pods, pod.Pod)
		}
		asked[one.node] = v
	}
	answer, err := e.Preempt(ctx, c.Pod.Pod, asked)
	if err != nil {
		return nil, err
	}
	var left []candidate
	for node, victims := range answer {
		one, err := fromAnswer(e, c.Snapshot, node, victims)
		if err != nil {
			return nil, err
		}
		if len(one.victims) > 0 {
			left = append(left, one)
		} else if !e.Ignorable() {
			return nil, fmt.Errorf("expected at least one victim pod on node %q", node)
		}
	}
	return left, nil
}

// fromAnswer finds the pods of the UIDs.
func fromAnswer(e PreemptionExtender, snapshot *framework.Snapshot, name string, victims *extenderv1.MetaVictims) (candidate, error) {
	node, ok := snapshot.Node(name)
	if !ok {
		return candidate{}, fmt.Errorf("extender %v claims to preempt pods on node %q, which is not known", e.Name(), name)
	}
	one := candidate{node: name}
	if victims == nil {
		return one, nil
	}
	byUID := make(map[string]*framework.PodInfo, len(node.Pods))
	for _, pod := range node.Pods {
		byUID[string(pod.Pod.UID)] = pod
	}
	for _, victim := range victims.Pods {
		pod := byUID[victim.UID]
		if pod == nil {
			return candidate{}, fmt.Errorf("extender: %v claims to preempt pod (UID: %v) on node: %v, but the pod is not found on that node", e.Name(), victim.UID, name)
		}
		one.victims = append(one.victims, pod)
	}
	one.violations = int(victims.NumPDBViolations)
	one.victims = byImportance(one.victims)
	return one, nil
}
