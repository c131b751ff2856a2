package core

import (
	"context"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func pods(deps Deps) resource.Resource {
	return podResource{resource.Definition[*corev1.Pod]{
		Resource:      corev1.SchemeGroupVersion.WithResource("pods"),
		Kind:          "Pod",
		ReturnDeleted: true,
		Singular:      "pod",
		ShortNames:    []string{"po"},
		Categories:    []string{"all"},
		Object:        &corev1.Pod{},
		List:          &corev1.PodList{},
		Types: map[schema.GroupVersion][]runtime.Object{
			corev1.SchemeGroupVersion:   {&corev1.Binding{}, &corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{}, &corev1.PodPortForwardOptions{}, &corev1.PodProxyOptions{}},
			policyv1.SchemeGroupVersion: {&policyv1.Eviction{}},
			policyBeta:                  {&policyv1.Eviction{}},
		},
		Name:     apivalidation.NameIsDNSSubdomain,
		Default:  defaultPod,
		Prepare:  preparePod,
		Validate: validatePod,
		Warn: func(_ context.Context, p, old *corev1.Pod) []string {
			if old != nil {
				return nil // programs update pods, not people
			}
			return append(podspec.WarnName(p.Name, podspec.PodHostname), podspec.Warnings(&p.ObjectMeta, &p.Spec)...)
		},
		Spec:              func(p *corev1.Pod) any { return &p.Spec },
		Status:            func(p *corev1.Pod) any { return &p.Status },
		PrepareStatus:     preparePodStatus,
		ValidateStatus:    validatePodStatus,
		WarnStatus:        func(_ context.Context, p, _ *corev1.Pod) []string { return podspec.StatusWarnings(&p.Status) },
		StatusResetFields: []string{"spec", "metadata.deletionTimestamp", "metadata.ownerReferences"},
		Fields:            podFields,
		FieldAliases:      map[string]string{"spec.host": "spec.nodeName"},
		Indexed:           []string{"spec.nodeName"},
		GracefulDelete:    podGrace,
		Columns:           podColumns(),
		RowConditions:     podEnd,
		Subresources: map[string]func(*registry.Store) rest.Storage{
			"binding":             func(s *registry.Store) rest.Storage { return bindingEndpoint{s} },
			"eviction":            func(s *registry.Store) rest.Storage { return evictionEndpoint{store: s, client: deps.Client} },
			"ephemeralcontainers": newEphemeralEndpoint,
			"resize":              newResizeEndpoint,
			"log":                 func(s *registry.Store) rest.Storage { return logEndpoint{s, deps.Kubelet} },
			"exec":                func(s *registry.Store) rest.Storage { return podExec(s, deps.Kubelet) },
			"attach":              func(s *registry.Store) rest.Storage { return podAttach(s, deps.Kubelet) },
			"portforward":         func(s *registry.Store) rest.Storage { return podPortForward(s, deps.Kubelet) },
			"proxy":               podProxy,
		},
	}}
}

func podFields(p *corev1.Pod) fields.Set {
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             p.Status.PodIP,
		"status.podIPs":            firstIP(p),
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}

func firstIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return p.Status.PodIPs[0].IP
	}
	return p.Status.PodIP
}

// defaultPod also keeps the single and the plural form of addresses equal.
func defaultPod(p *corev1.Pod) {
	podspec.SetDefaults(&p.Spec)
	podspec.SetPodDefaults(&p.Spec)
	s := &p.Status
	if s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP) {
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	if s.PodIP == "" && len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

func preparePod(_ context.Context, p, old *corev1.Pod) {
	if old != nil {
		// clients that don't know the field yet must not take it away
		if p.Spec.Resources == nil {
			p.Spec.Resources = old.Spec.Resources.DeepCopy()
		}
		podspec.Drop(&p.Spec, &old.Spec)
		return
	}
	podspec.Drop(&p.Spec, nil)
	podspec.DefaultPodResources(&p.Spec)
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: podspec.QOS(&p.Spec)}
	podspec.MergeLabelKeys(&p.Spec, p.Labels)
	podspec.SyncAppArmor(&p.ObjectMeta, &p.Spec)
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			LastTransitionTime: metav1.Now(), Message: "Scheduling is blocked due to non-empty scheduling gates",
		})
	}
}

func preparePodStatus(_ context.Context, p, old *corev1.Pod) {
	p.DeletionTimestamp = nil
	p.OwnerReferences = old.OwnerReferences
	podspec.KeepStatus(&p.Status, &old.Status)
	podspec.DropStatus(&p.Status)
}

// podGrace gives a pod that may be running its time to end.
func podGrace(_ context.Context, p *corev1.Pod, options *metav1.DeleteOptions) bool {
	var period int64
	switch {
	case options.GracePeriodSeconds != nil:
		period = *options.GracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		period = *p.Spec.TerminationGracePeriodSeconds
	}
	ended := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	if p.Spec.NodeName == "" || ended {
		period = 0
	}
	if period < 0 {
		period = 1
	}
	options.GracePeriodSeconds = &period
	return true
}
