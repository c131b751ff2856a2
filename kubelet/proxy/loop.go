package proxy

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"skiff/kubelet/nft"
)

// loop applies changes as they come, and makes the tables anew at the start, after a failure, and when they were
// tampered with.
func (p *Proxy) loop(ctx context.Context) {
	logger := klog.FromContext(ctx)
	p.plan(ctx, p.dirty.take())
	whole, ready := true, sync.OnceFunc(func() { close(p.ready) })
	repair := time.NewTicker(p.config.RepairPeriod)
	defer repair.Stop()
	for {
		pause := time.Duration(0)
		if err := p.sync(ctx, whole); err != nil {
			logger.Error(err, "Services may be served wrongly until this succeeds")
			pause = retryPeriod
		}
		if whole = pause > 0; !whole {
			ready()
		}
		switch p.wait(ctx, repair.C, pause) {
		case ended:
			return
		case damaged:
			logger.Info("Another program changed or removed the nftables table; making it anew", "table", p.config.Table)
			whole = true
		case changed:
			p.plan(ctx, p.dirty.take())
		}
	}
}

// event is why wait came back.
type event int

const (
	ended event = iota
	changed
	damaged
)

// wait comes back when there is something to do, but not before the pause is over.
func (p *Proxy) wait(ctx context.Context, repair <-chan time.Time, pause time.Duration) event {
	if pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ended
		case <-timer.C:
			return changed
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ended
		case <-p.dirty.signal:
			return changed
		case <-repair:
			intact, err := p.kernel.Intact()
			if err != nil {
				klog.FromContext(ctx).Error(err, "Looking whether the nftables table is intact")
			}
			if !intact || err != nil {
				return damaged
			}
		}
	}
}

// sync brings the kernel to the wanted state: the whole of it, or what differs.
func (p *Proxy) sync(ctx context.Context, whole bool) error {
	start := time.Now() //nolint:forbidigo // only measured for the log
	changes := p.state.Changes()
	if !whole && changes.Empty() {
		p.state.Committed()
		return nil
	}
	if whole {
		changes = nft.Changes[Value]{Added: p.state.Content()}
		if err := p.kernel.replace(p.config.fixed(), changes.Added); err != nil {
			return err
		}
	} else if err := p.kernel.update(changes); err != nil {
		return err
	}
	p.state.Committed()
	klog.FromContext(ctx).V(2).Info("Synced", "whole", whole, "removed", len(changes.Removed), "added", len(changes.Added),
		"took", time.Since(start)) //nolint:forbidigo // only measured for the log
	if err := p.flush(changes); err != nil {
		klog.FromContext(ctx).Error(err, "Some UDP clients keep a gone endpoint until they pause")
	}
	return nil
}

// plan plans anew what is dirty.
func (p *Proxy) plan(ctx context.Context, dirty []owner) {
	for _, o := range dirty {
		if o.kind == "node" && p.moved() {
			p.plan(ctx, p.everything())
		}
	}
	for _, o := range dirty {
		switch o.kind {
		case "service":
			p.planService(ctx, o)
		case "pod":
			pod, err := p.pods.Pods(o.namespace).Get(o.name)
			if err != nil || pod.Spec.NodeName != p.config.NodeName {
				pod = nil // gone, or another's by now
			}
			p.state.Put(o.String(), p.planner.Pod(pod))
		}
	}
}

func (p *Proxy) planService(ctx context.Context, o owner) {
	svc, err := p.services.Services(o.namespace).Get(o.name)
	if err != nil {
		svc = nil // gone
	}
	slices := p.slicesOf(o)
	p.state.Put(o.String(), p.planner.Service(svc, slices, p.state.Value))
	if err := p.health.set(ctx, o, p.planner.healthCheck(svc, slices)); err != nil {
		klog.FromContext(ctx).Error(err, "Load balancers can't ask this node for the Service's health")
	}
}

func (p *Proxy) slicesOf(o owner) []*discoveryv1.EndpointSlice {
	objs, err := p.slices.ByIndex(sliceIndex, o.namespace+"/"+o.name)
	if err != nil {
		return nil
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(objs))
	for _, obj := range objs {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			out = append(out, slice)
		}
	}
	return out
}

// moved reports whether this node is in another zone than the planner believes, and tells the planner.
func (p *Proxy) moved() bool {
	node, err := p.nodes.Get(p.config.NodeName)
	if err != nil || node.Labels[corev1.LabelTopologyZone] == p.planner.Zone {
		return false
	}
	p.planner.Zone = node.Labels[corev1.LabelTopologyZone]
	return true
}

// everything lists all Services.
func (p *Proxy) everything() []owner {
	var out []owner
	for _, key := range p.informers["services"].GetIndexer().ListKeys() {
		if namespace, name, err := cache.SplitMetaNamespaceKey(key); err == nil {
			out = append(out, owner{kind: "service", namespace: namespace, name: name})
		}
	}
	return out
}
