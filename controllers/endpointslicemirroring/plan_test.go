package endpointslicemirroring

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func addresses(ips ...string) []corev1.EndpointAddress {
	var out []corev1.EndpointAddress
	for _, ip := range ips {
		out = append(out, corev1.EndpointAddress{IP: ip})
	}
	return out
}

func ports(numbers ...int32) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for _, n := range numbers {
		out = append(out, corev1.EndpointPort{Name: fmt.Sprintf("p%d", n), Port: n, Protocol: corev1.ProtocolTCP})
	}
	return out
}

func object(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Name: "db", Namespace: "shop", UID: "uid-1", Labels: map[string]string{"app": "db"},
			Annotations: map[string]string{"note": "x", corev1.EndpointsLastChangeTriggerTime: "now", corev1.LastAppliedConfigAnnotation: "{}"},
		},
		Subsets: subsets,
	}
}

// describe writes slices as "v4 80,443 10.0.0.1,!10.0.0.2", those not ready with a mark.
func describe(all []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, s := range all {
		var numbers, ips []string
		for _, p := range s.Ports {
			numbers = append(numbers, fmt.Sprint(*p.Port))
		}
		for _, e := range s.Endpoints {
			mark := ""
			if !*e.Conditions.Ready {
				mark = "!"
			}
			ips = append(ips, mark+e.Addresses[0])
		}
		out = append(out, strings.TrimSpace(strings.Join([]string{strings.TrimPrefix(string(s.AddressType), "IP") + s.Name, strings.Join(numbers, ","), strings.Join(ips, ",")}, " ")))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestPlanCreates(t *testing.T) {
	many := make([]string, 0, 1100)
	for i := range 1100 {
		many = append(many, fmt.Sprintf("10.1.%d.%d", i/250, i%250+1))
	}
	for name, test := range map[string]struct {
		subsets          []corev1.EndpointSubset
		want             string
		skipped, invalid int
	}{
		"nothing": {},
		"ready and not": {
			subsets: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.2", "10.0.0.1"), NotReadyAddresses: addresses("10.0.0.3"), Ports: ports(80)}},
			want:    "v4 80 10.0.0.1,10.0.0.2,!10.0.0.3",
		},
		"two families": {
			subsets: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1", "fd00::1"), Ports: ports(80, 443)}},
			want:    "v4 80,443 10.0.0.1; v6 80,443 fd00::1",
		},
		"no ports":        {subsets: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1")}}, want: "v4  10.0.0.1"},
		"odd spelling":    {subsets: []corev1.EndpointSubset{{Addresses: addresses("010.0.0.01"), Ports: ports(80)}}, want: "v4 80 10.0.0.1"},
		"no address":      {subsets: []corev1.EndpointSubset{{Addresses: addresses("db.test", "10.0.0.1"), Ports: ports(80)}}, want: "v4 80 10.0.0.1", skipped: 1, invalid: 1},
		"one of each":     {subsets: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1"), Ports: ports(80)}, {Addresses: addresses("10.0.0.1"), Ports: ports(81)}}, want: "v4 80,81 10.0.0.1"},
		"split by ports":  {subsets: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1"), Ports: ports(80)}, {Addresses: addresses("10.0.0.2"), Ports: ports(81)}}, want: "v4 80 10.0.0.1; v4 81 10.0.0.2"},
		"joined by ports": {subsets: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1"), Ports: ports(80)}, {NotReadyAddresses: addresses("10.0.0.2"), Ports: ports(80)}}, want: "v4 80 10.0.0.1,!10.0.0.2"},
		"not ready wins":  {subsets: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1"), Ports: ports(80)}, {NotReadyAddresses: addresses("10.0.0.1"), Ports: ports(80)}}, want: "v4 80 !10.0.0.1"},
		"too many":        {subsets: []corev1.EndpointSubset{{Addresses: addresses(many...), NotReadyAddresses: addresses("10.0.0.1"), Ports: ports(80)}}, skipped: 101},
	} {
		t.Run(name, func(t *testing.T) {
			plan := Plan(object(test.subsets...), nil)
			if plan.Skipped != test.skipped || plan.Invalid != test.invalid {
				t.Errorf("skipped %d, invalid %d", plan.Skipped, plan.Invalid)
			}
			if name == "too many" {
				if len(plan.Create) != 1 || len(plan.Create[0].Endpoints) != capacity || plan.Added != capacity {
					t.Errorf("%d slices, %d added", len(plan.Create), plan.Added)
				}
				return
			}
			if got := describe(plan.Create); got != test.want || len(plan.Update)+len(plan.Delete) > 0 {
				t.Errorf("creates %q, wanted %q; %d updates, %d deletes", got, test.want, len(plan.Update), len(plan.Delete))
			}
		})
	}
}

func TestMirrorCarries(t *testing.T) {
	node, app := "node-1", "h2c"
	e := object(corev1.EndpointSubset{
		Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1", Hostname: "db-0", NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "db-0", UID: "pod"}}},
		Ports:     []corev1.EndpointPort{{Name: "sql", Port: 5432, Protocol: corev1.ProtocolTCP, AppProtocol: &app}},
	})
	got := Plan(e, nil).Create[0]
	if got.GenerateName != "db-" || got.Labels["app"] != "db" || got.Labels[discoveryv1.LabelServiceName] != "db" || got.Labels[discoveryv1.LabelManagedBy] != managedBy {
		t.Errorf("metadata %+v", got.ObjectMeta)
	}
	if len(got.Annotations) != 1 || got.Annotations["note"] != "x" || !metav1.IsControlledBy(got, e) {
		t.Errorf("annotations %v, owners %v", got.Annotations, got.OwnerReferences)
	}
	endpoint := got.Endpoints[0]
	if *endpoint.Hostname != "db-0" || *endpoint.NodeName != node || endpoint.TargetRef.Name != "db-0" || *got.Ports[0].AppProtocol != app || *got.Ports[0].Name != "sql" {
		t.Errorf("endpoint %+v, ports %+v", endpoint, got.Ports)
	}
	e.Name = strings.Repeat("x", 253)
	if got := Plan(e, nil).Create[0].GenerateName; got != e.Name {
		t.Errorf("a long name: %s", got)
	}
}

// stored answers what the plan creates, as it is when it has been stored.
func stored(subsets ...corev1.EndpointSubset) []*discoveryv1.EndpointSlice {
	made := Plan(object(subsets...), nil).Create
	for i, s := range made {
		s.Name, s.GenerateName, s.UID = fmt.Sprintf("-%d", i), "", types.UID(fmt.Sprint(i))
	}
	return made
}

func TestPlanChanges(t *testing.T) {
	before := corev1.EndpointSubset{Addresses: addresses("10.0.0.1", "10.0.0.2"), Ports: ports(80)}
	for name, test := range map[string]struct {
		now                     []corev1.EndpointSubset
		change                  func(*corev1.Endpoints)
		twice                   bool
		update, remove          string
		create                  int
		added, updated, removed int
	}{
		"nothing":        {now: []corev1.EndpointSubset{before}},
		"more":           {now: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1", "10.0.0.2", "10.0.0.3"), Ports: ports(80)}}, update: "v4-0 80 10.0.0.1,10.0.0.2,10.0.0.3", added: 1},
		"fewer":          {now: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.2"), Ports: ports(80)}}, update: "v4-0 80 10.0.0.2", removed: 1},
		"unready":        {now: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.2"), NotReadyAddresses: addresses("10.0.0.1"), Ports: ports(80)}}, update: "v4-0 80 10.0.0.2,!10.0.0.1", updated: 1},
		"other ports":    {now: []corev1.EndpointSubset{{Addresses: addresses("10.0.0.1"), Ports: ports(81)}}, update: "v4-0 81 10.0.0.1", added: 1},
		"other family":   {now: []corev1.EndpointSubset{{Addresses: addresses("fd00::1"), Ports: ports(80)}}, create: 1, remove: "v4-0 80 10.0.0.1,10.0.0.2", added: 1, removed: 2},
		"empty":          {remove: "v4-0 80 10.0.0.1,10.0.0.2"},
		"doubled":        {now: []corev1.EndpointSubset{before}, twice: true, remove: "v4-1 80 10.0.0.1,10.0.0.2"},
		"new label":      {now: []corev1.EndpointSubset{before}, change: func(e *corev1.Endpoints) { e.Labels["tier"] = "x" }, update: "v4-0 80 10.0.0.1,10.0.0.2"},
		"new annotation": {now: []corev1.EndpointSubset{before}, change: func(e *corev1.Endpoints) { e.Annotations["tier"] = "x" }, update: "v4-0 80 10.0.0.1,10.0.0.2"},
		"new trigger":    {now: []corev1.EndpointSubset{before}, change: func(e *corev1.Endpoints) { e.Annotations[corev1.EndpointsLastChangeTriggerTime] = "later" }},
		"made anew":      {now: []corev1.EndpointSubset{before}, change: func(e *corev1.Endpoints) { e.UID = "uid-2" }, update: "v4-0 80 10.0.0.1,10.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			current := stored(before)
			if test.twice {
				other := current[0].DeepCopy()
				other.Name = "-1"
				current = append(current, other)
			}
			now := object(test.now...)
			if test.change != nil {
				test.change(now)
			}
			plan := Plan(now, current)
			if got := describe(plan.Update); got != test.update {
				t.Errorf("updates %q, wanted %q", got, test.update)
			}
			if got := describe(plan.Delete); got != test.remove || len(plan.Create) != test.create {
				t.Errorf("deletes %q, wanted %q; %d creates", got, test.remove, len(plan.Create))
			}
			if plan.Added != test.added || plan.Updated != test.updated || plan.Removed != test.removed {
				t.Errorf("added %d, updated %d, removed %d", plan.Added, plan.Updated, plan.Removed)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	c := &counts{}
	c.set(types.NamespacedName{Name: "a"}, map[string]Packing{"80": {Endpoints: 1500, Slices: 1}, "81": {Endpoints: 2, Slices: 3}})
	c.set(types.NamespacedName{Name: "b"}, map[string]Packing{"80": {Endpoints: 5, Slices: 1}})
	if c.totals != (sum{endpoints: 1507, slices: 5, full: 4}) {
		t.Errorf("%+v", c.totals)
	}
	c.forget(types.NamespacedName{Name: "a"})
	c.set(types.NamespacedName{Name: "b"}, nil)
	if c.totals != (sum{}) || len(c.of) > 0 {
		t.Errorf("%+v of %d", c.totals, len(c.of))
	}
}

func TestKeys(t *testing.T) {
	plain, lock := object(), object()
	lock.Annotations["control-plane.alpha.kubernetes.io/leader"] = "{}"
	skipped := object()
	skipped.Labels[discoveryv1.LabelSkipMirror] = "true"
	if len(ofEndpoints(nil, plain)) != 1 || len(ofEndpoints(plain, skipped)) != 1 || len(ofEndpoints(plain, nil)) != 1 {
		t.Error("Endpoints that are or were mirrored are overlooked")
	}
	if len(ofEndpoints(nil, lock)) != 0 || len(ofEndpoints(skipped, skipped)) != 0 {
		t.Error("Endpoints are looked at that are never mirrored")
	}
	selects, free := &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"a": "b"}}}, &corev1.Service{}
	for _, change := range [][2]*corev1.Service{{nil, free}, {free, nil}, {selects, free}, {free, selects}} {
		var before, after metav1.Object
		if change[0] != nil {
			before = change[0]
		}
		if change[1] != nil {
			after = change[1]
		}
		if len(ofService(before, after)) != 1 {
			t.Errorf("overlooked: %v", change)
		}
	}
	if len(ofService(free, free)) != 0 || len(ofService(nil, selects)) != 0 {
		t.Error("services are looked at that changed nothing")
	}
}
