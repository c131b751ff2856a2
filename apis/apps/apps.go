// Package apps defines the resources of the apps API group.
package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	declared "skiff/apis/declarative/apps/v1"
	"skiff/apis/resource"
)

var (
	group    = appsv1.SchemeGroupVersion
	register = declared.RegisterValidations
)

// Resources lists what the group serves.
func Resources() []resource.Resource {
	return []resource.Resource{controllerRevisions(), daemonSets(), deployments(), replicaSets(), statefulSets()}
}

// replicasPath is where every scalable kind of the group keeps its replicas.
func replicasPath() map[string]fieldpath.Path {
	return map[string]fieldpath.Path{group.String(): fieldpath.MakePathOrDie("spec", "replicas")}
}

// count is a number in a status.
type count struct {
	name  string
	value int64
}

// nonNegative checks numbers of a status.
func nonNegative(at *field.Path, counts ...count) (errs field.ErrorList) {
	for _, c := range counts {
		if c.value < 0 {
			errs = append(errs, field.Invalid(at.Child(c.name), c.value, "must be greater than or equal to 0"))
		}
	}
	return errs
}

// notFewer lets the count of hash collisions only grow.
func notFewer(now, old *int32, at *field.Path) field.ErrorList {
	var n int32
	if now != nil {
		n = *now
	}
	if old == nil || (now != nil && n >= *old) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, "cannot be decremented")}
}

// atMost checks that numbers of a status are not greater than another one.
func atMost(at *field.Path, limit count, counts ...count) (errs field.ErrorList) {
	for _, c := range counts {
		if c.value > limit.value {
			errs = append(errs, field.Invalid(at.Child(c.name), int32(c.value), "cannot be greater than "+limit.name))
		}
	}
	return errs
}
