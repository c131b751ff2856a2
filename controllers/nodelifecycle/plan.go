package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Health is what is known of a node's signs of life.
type Health struct {
	// Lease and Status are the last renewal and heartbeat that were seen; their clock is the node's.
	Lease, Status metav1.MicroTime
	// At is when a new one was seen last, by this process's clock.
	At time.Time
	// Ready is the Ready condition that was seen last.
	Ready corev1.ConditionStatus
}

// Snapshot is what a plan is made from.
type Snapshot struct {
	Node *corev1.Node
	// Health is what was known before.
	Health Health
	// Renewed is the lease's renewal time; zero without a lease.
	Renewed metav1.MicroTime
	// Down says that no node of the cluster is ready: then the trouble is more likely here than there, and no pod
	// is driven from its node.
	Down bool
	// Held says that no further node of the zone is given up just now; what was given up stays so.
	Held bool
	Grace
	Now time.Time
}

// Grace is how long a node may be silent.
type Grace struct{ Running, Starting time.Duration }

// Plan is what to write.
type Plan struct {
	// Conditions are the node's conditions, nil when they stand.
	Conditions []corev1.NodeCondition
	// Taints are the node's taints, nil when they stand; an empty slice removes all.
	Taints []corev1.Taint
	// NotReady says that the node's pods must be marked as not ready.
	NotReady bool
	// Transition says that the node has just stopped being ready.
	Transition bool
	// Ready says that the node is ready.
	Ready bool
	// Drives says that the taints are the first to drive pods away.
	Drives bool
	// After is when silence will have lasted too long.
	After  time.Duration
	Health Health
}

// NewPlan judges one node.
func NewPlan(s Snapshot) Plan {
	health := observe(s)
	wait := s.Running
	if ready(s.Node.Status.Conditions) == nil {
		wait = s.Starting
	}
	plan := Plan{After: health.At.Add(wait).Sub(s.Now)}
	conditions := s.Node.Status.Conditions
	if plan.After <= 0 {
		conditions = silenced(s)
		plan.After = 0
	}
	if !sameConditions(conditions, s.Node.Status.Conditions) {
		plan.Conditions = conditions
	}
	status := corev1.ConditionUnknown
	if c := ready(conditions); c != nil {
		status = c.Status
	}
	plan.Ready = status == corev1.ConditionTrue
	plan.Transition = s.Health.Ready == corev1.ConditionTrue && status != corev1.ConditionTrue
	plan.NotReady = plan.Transition || (status == corev1.ConditionUnknown && ready(conditions) != nil)
	health.Ready = status
	plan.Health = health
	if taints := taints(s, conditions); !sameTaints(taints, s.Node.Spec.Taints) {
		plan.Taints, plan.Drives = taints, !drives(s.Node.Spec.Taints) && drives(taints)
	}
	return plan
}

// drives answers whether a taint is there that drives pods from a node that is not ready.
func drives(taints []corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable)
	})
}

// observe notes new signs of life. What is seen for the first time is new: a restarted controller gives every node
// its full time.
func observe(s Snapshot) Health {
	h := s.Health
	var beat metav1.MicroTime
	if c := ready(s.Node.Status.Conditions); c != nil {
		beat = metav1.NewMicroTime(c.LastHeartbeatTime.Time)
	}
	if h.At.IsZero() || beat.After(h.Status.Time) || s.Renewed.After(h.Lease.Time) {
		h.At = s.Now
	}
	h.Status, h.Lease = beat, s.Renewed
	return h
}

// silenced answers the conditions of a node that stopped, or never began, to report.
func silenced(s Snapshot) []corev1.NodeCondition {
	conditions := slices.Clone(s.Node.Status.Conditions)
	for _, kind := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		i := slices.IndexFunc(conditions, func(c corev1.NodeCondition) bool { return c.Type == kind })
		switch {
		case i < 0:
			conditions = append(conditions, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: s.Node.CreationTimestamp, LastTransitionTime: metav1.NewTime(s.Now),
			})
		case conditions[i].Status != corev1.ConditionUnknown:
			conditions[i].Status, conditions[i].Reason, conditions[i].Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			conditions[i].LastTransitionTime = metav1.NewTime(s.Now)
		}
	}
	return conditions
}

func ready(conditions []corev1.NodeCondition) *corev1.NodeCondition {
	for i := range conditions {
		if conditions[i].Type == corev1.NodeReady {
			return &conditions[i]
		}
	}
	return nil
}

// taints answers the node's taints as its conditions demand; taints of other origin stay, and so does the time of one
// that is there already.
func taints(s Snapshot, conditions []corev1.NodeCondition) []corev1.Taint {
	wanted := wantedTaints(s, conditions)
	all := []corev1.Taint{}
	for _, t := range s.Node.Spec.Taints {
		if !ours(t) || slices.ContainsFunc(wanted, func(w corev1.Taint) bool { return w.MatchTaint(&t) }) {
			all = append(all, t)
		}
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(all, func(t corev1.Taint) bool { return w.MatchTaint(&t) }) {
			all = append(all, w)
		}
	}
	return all
}

func wantedTaints(s Snapshot, conditions []corev1.NodeCondition) []corev1.Taint {
	var wanted []corev1.Taint
	now := metav1.NewTime(s.Now)
	add := func(key string, effect corev1.TaintEffect) {
		wanted = append(wanted, corev1.Taint{Key: key, Effect: effect, TimeAdded: &now})
	}
	for _, c := range conditions {
		key := conditionTaint(c)
		if key == "" {
			continue
		}
		add(key, corev1.TaintEffectNoSchedule)
		if c.Type == corev1.NodeReady && !s.Down && (!s.Held || drives(s.Node.Spec.Taints)) {
			add(key, corev1.TaintEffectNoExecute)
		}
	}
	if s.Node.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	return wanted
}

// conditionTaint answers the key of the taint that a condition demands, "" for none.
func conditionTaint(c corev1.NodeCondition) string {
	switch {
	case c.Type == corev1.NodeReady && c.Status == corev1.ConditionFalse:
		return corev1.TaintNodeNotReady
	case c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown:
		return corev1.TaintNodeUnreachable
	case c.Status != corev1.ConditionTrue:
		return ""
	}
	switch c.Type {
	case corev1.NodeMemoryPressure:
		return corev1.TaintNodeMemoryPressure
	case corev1.NodeDiskPressure:
		return corev1.TaintNodeDiskPressure
	case corev1.NodePIDPressure:
		return corev1.TaintNodePIDPressure
	case corev1.NodeNetworkUnavailable:
		return corev1.TaintNodeNetworkUnavailable
	}
	return ""
}

// ours answers whether the controller owns a taint; it removes one whose condition has gone.
func ours(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable:
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	case corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure,
		corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeUnschedulable:
		return t.Effect == corev1.TaintEffectNoSchedule
	}
	return false
}

func sameConditions(a, b []corev1.NodeCondition) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.NodeCondition) bool {
		return x.Type == y.Type && x.Status == y.Status && x.Reason == y.Reason
	})
}

func sameTaints(a, b []corev1.Taint) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.Taint) bool { return x.MatchTaint(&y) && x.Value == y.Value })
}

// DeprecatedLabels answers the old names under which a node's system and architecture are still asked for.
func DeprecatedLabels(node *corev1.Node) map[string]string {
	wanted := map[string]string{}
	for stable, beta := range map[string]string{corev1.LabelOSStable: "beta.kubernetes.io/os", corev1.LabelArchStable: "beta.kubernetes.io/arch"} {
		if v, ok := node.Labels[stable]; ok && node.Labels[beta] != v {
			wanted[beta] = v
		}
	}
	return wanted
}
