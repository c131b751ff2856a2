package ingress

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"skiff/ingress/route"
)

const (
	// pause is between two tables, so that many changes make few of them.
	pause = 50 * time.Millisecond
	// retryPeriod is between two attempts to take a port that others have.
	retryPeriod = 10 * time.Second
)

// reasonListen is the reason of events about ports that others have.
const reasonListen = "PortUnavailable"

// loop compiles the routes whenever what they are made from has changed.
func (i *Ingress) loop(ctx context.Context) {
	var uses map[route.Reference]bool
	ready := sync.OnceFunc(func() { close(i.statuses.ready) })
	i.changes.all()
	for {
		var retry <-chan time.Time
		if i.changes.take(uses) || i.missing() || i.gateways.unreported {
			uses = i.sync(ctx)
			ready()
			if i.missing() || i.gateways.unreported {
				retry = time.After(retryPeriod)
			}
		}
		if !rest(ctx, pause) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-i.changes.signal:
		case <-retry:
		}
	}
}

// rest is false if ctx ends meanwhile.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// sync puts new routes in force and answers what they are made from.
func (i *Ingress) sync(ctx context.Context) map[route.Reference]bool {
	ingresses, err := i.served()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Listing Ingresses")
		return nil
	}
	compiled := route.CompileAll(ingresses, i.gateways.read(ctx), i.objects, &i.keypairs)
	i.proxy.SetTable(compiled.Table)
	problems := append(compiled.Problems, i.listen(ctx, ingresses, !compiled.Table.Empty())...)
	i.told.tell(problems)
	i.gateways.report(ctx, compiled)
	return compiled.Uses
}

// listen takes the ports if they are wanted, and gives back those that it took if they aren't.
func (i *Ingress) listen(ctx context.Context, ingresses []*networkingv1.Ingress, wanted bool) (problems []route.Problem) {
	before := i.listens()
	for _, p := range i.ports {
		problem := p.set(ctx, wanted)
		for _, in := range ingresses {
			if problem != "" {
				problems = append(problems, route.Problem{Object: in, Reason: reasonListen, Message: problem})
			}
		}
	}
	if before != i.listens() {
		i.statuses.serving.Store(!before)
		for _, in := range ingresses {
			i.statuses.add(in)
		}
	}
	return problems
}

func (i *Ingress) listens() bool {
	for _, p := range i.ports {
		if p.open() {
			return true
		}
	}
	return false
}

// missing reports whether a port is wanted that others have.
func (i *Ingress) missing() bool {
	for _, p := range i.ports {
		if p.wanted && !p.open() {
			return true
		}
	}
	return false
}

func (i *Ingress) closePorts() {
	for _, p := range i.ports {
		p.close()
	}
}

// told remembers what users were told, so that nobody hears of the same twice.
type told struct {
	events record.EventRecorder
	known  map[route.Problem]bool
}

func newTold(events record.EventRecorder) *told { return &told{events: events} }

// tell sends events of the problems that are new.
func (t *told) tell(problems []route.Problem) {
	now := map[route.Problem]bool{}
	for _, p := range problems {
		key := p
		key.Object = nil
		if in, ok := p.Object.(*networkingv1.Ingress); ok {
			key.Message = string(in.UID) + " " + p.Message // an object of another version is still the same
		}
		if now[key] = true; !t.known[key] {
			t.events.Event(p.Object, corev1.EventTypeWarning, p.Reason, p.Message)
		}
	}
	t.known = now
}
