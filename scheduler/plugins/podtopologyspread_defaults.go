package plugins

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	schedv1 "k8s.io/kube-scheduler/config/v1"
)

// spreadSelector is the constraint's selector narrowed to the pod's own values of its matchLabelKeys.
func spreadSelector(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
	if err != nil {
		return nil, err
	}
	for _, key := range c.MatchLabelKeys {
		value, ok := pod.Labels[key]
		if !ok {
			continue
		}
		r, err := labels.NewRequirement(key, selection.Equals, []string{value})
		if err != nil {
			return nil, err
		}
		selector = selector.Add(*r)
	}
	return selector, nil
}

// systemSpread are upstream's constraints of pods that name none: hosts with a skew of 3, zones with a skew of 5.
func systemSpread() []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{
		{TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: 3},
		{TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: 5},
	}
}

// defaultSpread finds the constraints of pods that name none.
type defaultSpread struct {
	constraints []corev1.TopologySpreadConstraint
	// system says that the constraints are upstream's: nodes needn't carry all their labels then.
	system   bool
	services corelisters.ServiceLister
	rcs      corelisters.ReplicationControllerLister
	rss      appslisters.ReplicaSetLister
	sss      appslisters.StatefulSetLister
}

func newDefaultSpread(f informers.SharedInformerFactory, args *schedv1.PodTopologySpreadArgs) defaultSpread {
	constraints, system := systemSpread(), true
	if args != nil && args.DefaultingType == schedv1.ListDefaulting {
		constraints, system = args.DefaultConstraints, false
	}
	return defaultSpread{
		constraints: constraints, system: system,

		services: f.Core().V1().Services().Lister(),
		rcs:      f.Core().V1().ReplicationControllers().Lister(),
		rss:      f.Apps().V1().ReplicaSets().Lister(),
		sss:      f.Apps().V1().StatefulSets().Lister(),
	}
}

// spreads answers the constraints of one kind of action, for pods that a service or a controller selects.
func (d *defaultSpread) spreads(pod *corev1.Pod, action corev1.UnsatisfiableConstraintAction) ([]spread, error) {
	spreads, err := parseSpreads(pod, d.constraints, action)
	if err != nil || len(spreads) == 0 {
		return nil, err
	}
	selector, err := d.selector(pod)
	if err != nil || selector.Empty() {
		return nil, err
	}
	for i := range spreads {
		spreads[i].selector = selector
	}
	return spreads, nil
}

// selector joins the selectors of the pod's services and of its controller.
func (d *defaultSpread) selector(pod *corev1.Pod) (labels.Selector, error) {
	set := labels.Set{}
	services, err := d.services.Services(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing services: %w", err)
	}
	for _, s := range services {
		if len(s.Spec.Selector) > 0 && labels.SelectorFromValidatedSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			set = labels.Merge(set, s.Spec.Selector)
		}
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return labels.SelectorFromValidatedSet(set), nil
	}
	ofOwner, rcSet, err := d.ownerSelector(pod.Namespace, owner)
	if err != nil {
		return nil, err
	}
	selector := labels.SelectorFromValidatedSet(labels.Merge(set, rcSet))
	if ofOwner == nil {
		return selector, nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(ofOwner)
	if err != nil {
		return nil, fmt.Errorf("parsing the selector of %s %s: %w", owner.Kind, owner.Name, err)
	}
	requirements, _ := parsed.Requirements()
	return selector.Add(requirements...), nil
}

func (d *defaultSpread) ownerSelector(namespace string, owner *metav1.OwnerReference) (*metav1.LabelSelector, labels.Set, error) {
	var selector *metav1.LabelSelector
	var set labels.Set
	var err error
	switch {
	case owner.Kind == "ReplicationController" && owner.APIVersion == "v1":
		var rc *corev1.ReplicationController
		if rc, err = d.rcs.ReplicationControllers(namespace).Get(owner.Name); err == nil {
			set = rc.Spec.Selector
		}
	case owner.Kind == "ReplicaSet" && owner.APIVersion == "apps/v1":
		if rs, e := d.rss.ReplicaSets(namespace).Get(owner.Name); e == nil {
			selector = rs.Spec.Selector
		} else {
			err = e
		}
	case owner.Kind == "StatefulSet" && owner.APIVersion == "apps/v1":
		if ss, e := d.sss.StatefulSets(namespace).Get(owner.Name); e == nil {
			selector = ss.Spec.Selector
		} else {
			err = e
		}
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, nil, fmt.Errorf("getting %s %s: %w", owner.Kind, owner.Name, err)
	}
	return selector, set, nil
}
