package ingress

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"

	"skiff/ingress/route"
)

// gatewayStatus is the status of a Gateway.
type gatewayStatus struct {
	Addresses  []gatewayAddress   `json:"addresses,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	Listeners  []listenerStatus   `json:"listeners,omitempty"`
}

type gatewayAddress struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type listenerStatus struct {
	Name           string             `json:"name"`
	AttachedRoutes int64              `json:"attachedRoutes"`
	SupportedKinds []routeKind        `json:"supportedKinds"`
	Conditions     []metav1.Condition `json:"conditions"`
}

type routeKind struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
}

// routeStatus is the status of an HTTPRoute; other controllers have their parents in it.
type routeStatus struct {
	Parents []parentStatus `json:"parents"`
}

type parentStatus struct {
	ParentRef      map[string]any     `json:"parentRef"`
	ControllerName string             `json:"controllerName"`
	Conditions     []metav1.Condition `json:"conditions"`
}

// conditionsOnly is the status of a GatewayClass.
type conditionsOnly struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// report writes the statuses of what was served.
func (g *gateways) report(ctx context.Context, c route.Compiled) {
	g.unreported = false
	for _, u := range g.objects(classes) {
		if name, _, _ := unstructured.NestedString(u.Object, "spec", "controllerName"); name == GatewayController {
			write(ctx, g, classes, u, func(s *conditionsOnly) {
				s.Conditions = merge(s.Conditions, u, metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted"})
			})
		}
	}
	served := map[string]route.GatewayResult{}
	for _, r := range c.Gateways {
		served[r.Namespace+"/"+r.Name] = r
	}
	for _, u := range g.objects(gates) {
		if r, ok := served[u.GetNamespace()+"/"+u.GetName()]; ok {
			write(ctx, g, gates, u, func(s *gatewayStatus) { g.gateway(s, u, r) })
		}
	}
	attached := map[string][]route.RouteResult{}
	for _, r := range c.Routes {
		attached[r.Namespace+"/"+r.Name] = append(attached[r.Namespace+"/"+r.Name], r)
	}
	for _, u := range g.objects(routes) {
		results := attached[u.GetNamespace()+"/"+u.GetName()]
		if len(results) > 0 || mentions(u) {
			write(ctx, g, routes, u, func(s *routeStatus) { parents(s, u, results) })
		}
	}
}

func (g *gateways) gateway(s *gatewayStatus, u *unstructured.Unstructured, r route.GatewayResult) {
	s.Addresses = nil
	if g.of.statuses.serving.Load() {
		for _, a := range g.of.config.Addresses {
			s.Addresses = append(s.Addresses, gatewayAddress{"IPAddress", a.String()})
		}
	}
	s.Conditions = merge(s.Conditions, u, r.Accepted, r.Programmed)
	before := map[string][]metav1.Condition{}
	for _, l := range s.Listeners {
		before[l.Name] = l.Conditions
	}
	s.Listeners = nil
	for _, l := range r.Listeners {
		status := listenerStatus{Name: l.Name, AttachedRoutes: int64(l.Attached), SupportedKinds: []routeKind{}, Conditions: merge(before[l.Name], u, l.Conditions...)}
		if l.Kinds {
			status.SupportedKinds = append(status.SupportedKinds, routeKind{route.GatewayGroup, "HTTPRoute"})
		}
		s.Listeners = append(s.Listeners, status)
	}
}

// parents puts the results in place of those that the controller wrote before, and leaves those of others.
func parents(s *routeStatus, u *unstructured.Unstructured, results []route.RouteResult) {
	out := []parentStatus{}
	for _, p := range s.Parents {
		if p.ControllerName != GatewayController {
			out = append(out, p)
		}
	}
	for _, r := range results {
		ref := map[string]any{"name": r.Parent.Name}
		for key, value := range map[string]*string{"group": r.Parent.Group, "kind": r.Parent.Kind, "namespace": r.Parent.Namespace, "sectionName": r.Parent.SectionName} {
			if value != nil {
				ref[key] = *value
			}
		}
		if r.Parent.Port != nil {
			ref["port"] = int64(*r.Parent.Port)
		}
		var before []metav1.Condition
		for _, p := range s.Parents {
			if p.ControllerName == GatewayController && reflect.DeepEqual(p.ParentRef, ref) {
				before = p.Conditions
			}
		}
		out = append(out, parentStatus{ref, GatewayController, merge(before, u, r.Conditions...)})
	}
	s.Parents = out
}

// mentions reports whether the status of an HTTPRoute has a parent that the controller wrote.
func mentions(u *unstructured.Unstructured) bool {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
	return slices.ContainsFunc(list, func(p any) bool {
		m, ok := p.(map[string]any)
		return ok && m["controllerName"] == GatewayController
	})
}

// merge sets conditions. The time of one changes with its status.
func merge(before []metav1.Condition, u *unstructured.Unstructured, now ...metav1.Condition) []metav1.Condition {
	out := append([]metav1.Condition(nil), before...)
	for _, c := range now {
		c.ObservedGeneration = u.GetGeneration()
		meta.SetStatusCondition(&out, c)
	}
	return out
}

func (g *gateways) objects(kind string) (out []*unstructured.Unstructured) {
	g.mu.Lock()
	from := g.caches[kind]
	g.mu.Unlock()
	if from == nil {
		return nil
	}
	list, err := from.List(labels.Everything())
	if err != nil {
		return nil
	}
	for _, o := range list {
		if u, ok := o.(*unstructured.Unstructured); ok && u.GetDeletionTimestamp() == nil {
			out = append(out, u)
		}
	}
	return out
}

// write has change alter an object's status, and writes it if it did.
func write[S any](ctx context.Context, g *gateways, kind string, u *unstructured.Unstructured, change func(*S)) {
	err := tryWrite(ctx, g, kind, u, change)
	if err != nil && !apierrors.IsNotFound(err) {
		klog.FromContext(ctx).V(2).Info("Trying again", "kind", kind, "object", klog.KObj(u), "err", err)
		g.unreported = true
	}
}

func tryWrite[S any](ctx context.Context, g *gateways, kind string, u *unstructured.Unstructured, change func(*S)) error {
	var status S
	before, _, err := unstructured.NestedMap(u.Object, "status")
	if err == nil && before != nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(before, &status)
	}
	if err != nil {
		return fmt.Errorf("reading its status: %w", err)
	}
	change(&status)
	after, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return fmt.Errorf("making its status: %w", err)
	}
	if reflect.DeepEqual(before, after) {
		return nil
	}
	update := u.DeepCopy()
	update.Object["status"] = after
	g.mu.Lock()
	resource := g.kinds[kind]
	g.mu.Unlock()
	_, err = g.client.Resource(resource).Namespace(u.GetNamespace()).UpdateStatus(ctx, update, metav1.UpdateOptions{FieldManager: Component})
	return err //nolint:wrapcheck // it says what it is about
}
