package scheduler

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"skiff/scheduler/configuration"
	"skiff/scheduler/framework"
	"skiff/scheduler/plugins"
)

// What rejects pods beside plugins.
const (
	// noNodes stands for a cluster without nodes.
	noNodes = "NoNodes"
	// extenders stands for all of them, since none says what it waits for.
	extenders = "Extender"
)

// profile serves the pods of one scheduler name. Profiles share cache, queue and the plugins without a configuration.
type profile struct {
	*framework.Framework
	recorder *recorder
	// percentage is the share of nodes that ends the search for them.
	percentage int
}

// profiles are the profiles by scheduler name.
type profiles struct {
	byName map[string]*profile
	// first decides the order of the queue, which is the same in all.
	first *profile
	// extended says that there are extenders.
	extended bool
}

// of answers the profile of a pod, nil when another scheduler serves it.
func (p *profiles) of(pod *corev1.Pod) *profile { return p.byName[pod.Spec.SchedulerName] }

// addProfiles makes the frameworks.
func (s *Scheduler) addProfiles(d plugins.Deps) error {
	shared := plugins.Default(d)
	path := field.NewPath("profiles")
	for i := range s.cfg.Profiles {
		p, err := s.newProfile(d, shared, &s.cfg.Profiles[i], path.Index(i))
		if err != nil {
			return err
		}
		if s.profiles.byName[p.Name()] != nil {
			return field.Duplicate(path.Index(i).Child("schedulerName"), p.Name())
		}
		s.profiles.byName[p.Name()] = p
		if i == 0 {
			s.profiles.first = p
		}
	}
	return nil
}

func (s *Scheduler) newProfile(d plugins.Deps, shared []framework.Enabled, cfg *schedv1.KubeSchedulerProfile, path *field.Path) (*profile, error) {
	name := ptr.Deref(cfg.SchedulerName, "")
	if name == "" {
		return nil, field.Required(path.Child("schedulerName"), "give each profile a name of its own")
	}
	p := &profile{recorder: s.recorders.of(name), percentage: int(ptr.Deref(cfg.PercentageOfNodesToScore, int32(s.cfg.PercentageOfNodesToScore)))} //nolint:gosec // 0..100
	d.Recorder = p.recorder
	args := configuration.Args(cfg)
	args[fitName] = s.ignoreManaged(args[fitName])
	own, err := plugins.Configured(d, shared, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path.Child("pluginConfig"), err)
	}
	points, err := configuration.Points(own, cfg.Plugins, path.Child("plugins"))
	if err != nil {
		return nil, err
	}
	if p.Framework, err = framework.NewProfile(framework.Profile{Name: name, Plugins: points, Observer: s.metrics}, s.nominator); err != nil {
		return nil, fmt.Errorf("%s: %w", path.Child("plugins"), err)
	}
	return p, nil
}

// Less implements queue.Policy.
func (p *profiles) Less(a, b framework.Queued) bool { return p.first.Less(a, b) }

// PreEnqueue implements queue.Policy.
func (p *profiles) PreEnqueue(pod *framework.PodInfo) *framework.Status {
	return p.of(pod.Pod).PreEnqueue(pod)
}

// Events implements queue.Policy: what plugins wait for, a node for pods that found none at all, and anything for pods
// that an extender turned down.
func (p *profiles) Events() map[string]map[string][]framework.ClusterEventWithHint {
	node := framework.ClusterEvent{Resource: framework.Node, Action: framework.Add}
	anything := framework.ClusterEvent{Resource: framework.WildCard, Action: framework.All}
	events := map[string]map[string][]framework.ClusterEventWithHint{}
	for name, profile := range p.byName {
		of := maps.Clone(profile.Events())
		of[noNodes] = []framework.ClusterEventWithHint{{Event: node}}
		if p.extended {
			of[extenders] = []framework.ClusterEventWithHint{{Event: anything}}
		}
		events[name] = of
	}
	return events
}
