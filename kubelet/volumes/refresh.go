package volumes

import (
	"context"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"skiff/kubelet/objects"
)

const (
	// refreshers is how many pods are rendered at once, so that a slow token request does not hold up the others.
	refreshers    = 8
	firstRetry    = 100 * time.Millisecond
	longestRetry  = 30 * time.Second
	retryDoubling = 2
	// whileBusy is when to look again at a pod that is just being mounted, which may take minutes: its volume may have to be
	// attached, or its driver may hang.
	whileBusy = 100 * time.Millisecond
)

// Run keeps the content of mounted volumes up to date, and measures them for those who ask, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	loops := &errgroup.Group{}
	loops.Go(func() error { return m.agenda.work(ctx, refreshers, m.refresh) })
	loops.Go(func() error { return m.stale.work(ctx, measurers, m.measure) })
	return loops.Wait()
}

// work does the pods on the agenda as they fall due, some at once, until ctx ends.
func (a *agenda) work(ctx context.Context, atOnce int, do func(context.Context, types.UID)) error {
	workers := &errgroup.Group{}
	workers.SetLimit(atOnce)
	a.loop(ctx, func(uid types.UID) {
		workers.Go(func() error {
			do(ctx, uid)
			return nil
		})
	})
	return workers.Wait()
}

// loop hands out the pods on the agenda as they fall due.
func (a *agenda) loop(ctx context.Context, start func(types.UID)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due, wait := a.take(time.Now())
		for _, uid := range due {
			start(uid)
		}
		if wait >= 0 {
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		case <-timer.C:
		}
	}
}

// refresh renders a pod's volumes again. A pod whose mount failed is reported instead: mounting it is its worker's job.
func (m *Manager) refresh(ctx context.Context, uid types.UID) {
	t := m.lookup(uid)
	if t == nil {
		return
	}
	if !t.mu.TryLock() {
		m.agenda.add(uid, time.Now().Add(whileBusy))
		return
	}
	defer t.mu.Unlock()
	if t.gone {
		return
	}
	if !t.mounted {
		if m.wake != nil {
			m.wake(uid)
		}
		return
	}
	_, renew, err := m.setUp(ctx, t, t.ages)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		t.retry = min(max(t.retry*retryDoubling, firstRetry), longestRetry)
		klog.FromContext(ctx).Error(err, "Updating a pod's volumes failed, their content stays as it is", "pod", klog.KObj(t.pod), "retry", t.retry)
		m.agenda.add(uid, earliest(renew, time.Now().Add(t.retry)))
		return
	}
	t.retry = 0
	if !renew.IsZero() {
		m.agenda.add(uid, renew)
	}
}

// ages says whether a mounted volume is looked after: rendered content is, and what drivers provided.
func (t *tracked) ages(k kind, spec *corev1.Volume) bool {
	_, ok := k.(rendered)
	return ok || t.provided[spec.Name] != nil
}

// objectChanged puts the pods that use an object on the agenda.
func (m *Manager) objectChanged(ref objects.Ref) {
	m.mu.Lock()
	using := make(map[types.UID]*tracked, len(m.tracked))
	maps.Copy(using, m.tracked)
	m.mu.Unlock()
	for uid, t := range using {
		if refs := t.refs.Load(); refs != nil && (*refs)[ref] {
			m.agenda.add(uid, time.Now())
		}
	}
}

// podChanged puts a pod on the agenda whose volumes may show what changed.
func (m *Manager) podChanged(before, after any) {
	was, ok := before.(*corev1.Pod)
	is, ok2 := after.(*corev1.Pod)
	if !ok || !ok2 || was.UID != is.UID || !showsItself(is) {
		return
	}
	if was.Generation == is.Generation && maps.Equal(was.Labels, is.Labels) && maps.Equal(was.Annotations, is.Annotations) {
		return
	}
	if m.lookup(is.UID) != nil {
		m.agenda.add(is.UID, time.Now())
	}
}

// showsItself says whether a volume of the pod has fields of the pod as content.
func showsItself(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		spec := &pod.Spec.Volumes[i]
		if spec.DownwardAPI != nil {
			return true
		}
		if spec.Projected == nil {
			continue
		}
		for j := range spec.Projected.Sources {
			if spec.Projected.Sources[j].DownwardAPI != nil {
				return true
			}
		}
	}
	return false
}

// refsOf answers the objects whose change changes the content of the pod's volumes.
func refsOf(pod *corev1.Pod) map[objects.Ref]bool {
	refs := map[objects.Ref]bool{}
	add := func(kind objects.Kind, name string) {
		refs[objects.Ref{Kind: kind, Namespace: pod.Namespace, Name: name}] = true
	}
	for i := range pod.Spec.Volumes {
		spec := &pod.Spec.Volumes[i]
		switch {
		case spec.ConfigMap != nil:
			add(objects.ConfigMap, spec.ConfigMap.Name)
		case spec.Secret != nil:
			add(objects.Secret, spec.Secret.SecretName)
		case spec.Projected != nil:
			for j := range spec.Projected.Sources {
				source := &spec.Projected.Sources[j]
				if source.ConfigMap != nil {
					add(objects.ConfigMap, source.ConfigMap.Name)
				}
				if source.Secret != nil {
					add(objects.Secret, source.Secret.Name)
				}
			}
		}
	}
	return refs
}
