package configuration

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"
)

// Default fills in what a configuration leaves open, as upstream does with two exceptions: plugins stay as written until
// Points merges them with the list, and leader election is off unless it is asked for, since one server needs no lease.
func Default(cfg *schedv1.KubeSchedulerConfiguration) {
	setDefault(&cfg.Parallelism, 16)
	setDefault(&cfg.PercentageOfNodesToScore, 0)
	setDefault(&cfg.PodInitialBackoffSeconds, 1)
	setDefault(&cfg.PodMaxBackoffSeconds, 10)
	if len(cfg.Profiles) == 0 {
		cfg.Profiles = []schedv1.KubeSchedulerProfile{{}}
	}
	if len(cfg.Profiles) == 1 {
		setDefault(&cfg.Profiles[0].SchedulerName, corev1.DefaultSchedulerName)
	}
	for i := range cfg.Profiles {
		for j := range cfg.Profiles[i].PluginConfig {
			defaultArgs(cfg.Profiles[i].PluginConfig[j].Args.Object)
		}
	}
	lease := &cfg.LeaderElection
	setDefault(&lease.LeaderElect, false)
	for _, d := range []struct {
		field *metav1.Duration
		value time.Duration
	}{{&lease.LeaseDuration, 15 * time.Second}, {&lease.RenewDeadline, 10 * time.Second}, {&lease.RetryPeriod, 2 * time.Second}} {
		if d.field.Duration == 0 {
			d.field.Duration = d.value
		}
	}
	for _, d := range []struct {
		field *string
		value string
	}{
		{&lease.ResourceLock, "leases"},
		{&lease.ResourceNamespace, schedv1.SchedulerDefaultLockObjectNamespace}, {&lease.ResourceName, schedv1.SchedulerDefaultLockObjectName},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
}

func setDefault[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// defaultArgs fills in the arguments of a plugin.
func defaultArgs(args any) {
	switch a := args.(type) {
	case *schedv1.DefaultPreemptionArgs:
		setDefault(&a.MinCandidateNodesPercentage, 10)
		setDefault(&a.MinCandidateNodesAbsolute, 100)
	case *schedv1.InterPodAffinityArgs:
		setDefault(&a.HardPodAffinityWeight, 1)
	case *schedv1.VolumeBindingArgs:
		setDefault(&a.BindTimeoutSeconds, 600)
	case *schedv1.PodTopologySpreadArgs:
		if a.DefaultingType == "" {
			a.DefaultingType = schedv1.SystemDefaulting
		}
	case *schedv1.NodeResourcesBalancedAllocationArgs:
		a.Resources = defaultResources(a.Resources)
	case *schedv1.NodeResourcesFitArgs:
		if a.ScoringStrategy == nil {
			a.ScoringStrategy = &schedv1.ScoringStrategy{Type: schedv1.LeastAllocated}
		}
		a.ScoringStrategy.Resources = defaultResources(a.ScoringStrategy.Resources)
	case *schedv1.DynamicResourcesArgs:
		setDefault(&a.FilterTimeout, metav1.Duration{Duration: schedv1.DynamicResourcesFilterTimeoutDefault})
		setDefault(&a.BindingTimeout, metav1.Duration{Duration: schedv1.DynamicResourcesBindingTimeoutDefault})
	}
}

// defaultResources: CPU and memory when none is named, and a weight of 1 for those without.
func defaultResources(resources []schedv1.ResourceSpec) []schedv1.ResourceSpec {
	if len(resources) == 0 {
		return []schedv1.ResourceSpec{{Name: string(corev1.ResourceCPU), Weight: 1}, {Name: string(corev1.ResourceMemory), Weight: 1}}
	}
	for i := range resources {
		if resources[i].Weight == 0 {
			resources[i].Weight = 1
		}
	}
	return resources
}

// name answers a profile's scheduler name, "" when it has none.
func name(p *schedv1.KubeSchedulerProfile) string { return ptr.Deref(p.SchedulerName, "") }
