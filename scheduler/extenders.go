package scheduler

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
	schedv1 "k8s.io/kube-scheduler/config/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"skiff/scheduler/extender"
	"skiff/scheduler/framework"
)

// fitName is the plugin that leaves resources to extenders.
const fitName = "NodeResourcesFit"

// addExtenders makes the extenders; those that may be ignored come last.
func (s *Scheduler) addExtenders() error {
	var ignorable []*extender.Extender
	for i := range s.cfg.Extenders {
		e, err := extender.New(s.cfg.Extenders[i])
		switch {
		case err != nil:
			return fmt.Errorf("%s.%w", field.NewPath("extenders").Index(i), err)
		case e.Ignorable():
			ignorable = append(ignorable, e)
		default:
			s.extenders = append(s.extenders, e)
		}
	}
	s.extenders = append(s.extenders, ignorable...)
	return nil
}

func (s *Scheduler) closeExtenders() {
	for _, e := range s.extenders {
		e.Close()
	}
}

// ignoreManaged has a profile's NodeResourcesFit leave the resources aside that extenders look after alone. They take the
// place of those in its arguments, as upstream has it.
func (s *Scheduler) ignoreManaged(args runtime.Object) runtime.Object {
	var ignored []string
	for i := range s.cfg.Extenders {
		for _, r := range s.cfg.Extenders[i].ManagedResources {
			if r.IgnoredByScheduler {
				ignored = append(ignored, r.Name)
			}
		}
	}
	if len(ignored) == 0 {
		return args
	}
	fit, ok := args.(*schedv1.NodeResourcesFitArgs)
	if !ok {
		fit = &schedv1.NodeResourcesFitArgs{}
	}
	fit = fit.DeepCopy()
	fit.IgnoredResources = ignored
	return fit
}

// extendersChoose reports whether an extender could choose among several nodes.
func (s *Scheduler) extendersChoose() bool {
	for _, e := range s.extenders {
		if e.Filters() || e.Prioritizes() {
			return true
		}
	}
	return false
}

func nodesOf(infos []*framework.NodeInfo) []*corev1.Node {
	nodes := make([]*corev1.Node, 0, len(infos))
	for _, info := range infos {
		nodes = append(nodes, info.Node)
	}
	return nodes
}

// filterExtended asks the extenders one after the other which of the nodes remain, and notes their reasons against the
// others. One that fails ends the attempt unless it may be ignored.
func (s *Scheduler) filterExtended(ctx context.Context, pod *corev1.Pod, nodes []*framework.NodeInfo, statuses *framework.NodeStatuses) ([]*framework.NodeInfo, error) {
	for _, e := range s.extenders {
		if len(nodes) == 0 {
			break
		}
		if !e.Filters() || !e.Interested(pod) {
			continue
		}
		verdict, err := e.Filter(ctx, pod, nodesOf(nodes))
		if err != nil && e.Ignorable() {
			klog.FromContext(ctx).Info("skipping an extender that failed and may be ignored", "extender", e.Name(), "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		for name, reason := range verdict.Failed {
			statuses.Set(name, framework.NewStatus(framework.Unschedulable, reason))
		}
		for name, reason := range verdict.Unresolvable {
			statuses.Set(name, framework.NewStatus(framework.UnschedulableAndUnresolvable, reason))
		}
		byName := make(map[string]*framework.NodeInfo, len(nodes))
		for _, node := range nodes {
			byName[node.Name()] = node
		}
		passed := make([]*framework.NodeInfo, 0, len(verdict.Passed))
		for _, name := range verdict.Passed {
			passed = append(passed, byName[name])
		}
		nodes = passed
	}
	return nodes, nil
}

// scoreExtended adds the extenders' scores, asked all at once. One that fails adds nothing.
func (s *Scheduler) scoreExtended(ctx context.Context, pod *corev1.Pod, scores []framework.NodeScore) {
	if len(s.extenders) == 0 {
		return
	}
	nodes := make([]*corev1.Node, 0, len(scores))
	for _, score := range scores {
		nodes = append(nodes, score.Node.Node)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	added := map[string]int64{}
	for _, e := range s.extenders {
		if !e.Prioritizes() || !e.Interested(pod) {
			continue
		}
		wg.Go(func() {
			running := s.metrics.goroutines.WithLabelValues("prioritizing_extender")
			running.Inc()
			defer running.Dec()
			list, err := e.Prioritize(ctx, pod, nodes)
			if err != nil {
				klog.FromContext(ctx).V(2).Info("an extender gave no scores", "extender", e.Name(), "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range list {
				added[p.Host] += p.Score * e.Weight() * (framework.MaxNodeScore / extenderv1.MaxExtenderPriority)
			}
		})
	}
	wg.Wait()
	for i := range scores {
		scores[i].Score += added[scores[i].Node.Name()]
	}
}

// write has the decision written by the extender that binds such pods, else by the Bind plugins.
func (s *Scheduler) write(ctx context.Context, a *attempt, node string) *framework.Status {
	pod := a.queued.Info.Pod
	for _, e := range s.extenders {
		if !e.Binds() || !e.Interested(pod) {
			continue
		}
		err := e.Bind(ctx, pod, node)
		if err != nil && e.Ignorable() {
			klog.FromContext(ctx).Info("skipping an extender that failed to bind and may be ignored", "extender", e.Name(), "err", err)
			continue
		}
		return framework.AsStatus(err)
	}
	return a.profile.Bind(ctx, a.cycle, node)
}
