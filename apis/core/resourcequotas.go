package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
	"skiff/apis/resource"
)

func resourceQuotas() resource.Resource {
	type quota = *corev1.ResourceQuota
	return resource.Definition[quota]{
		Resource:      corev1.SchemeGroupVersion.WithResource("resourcequotas"),
		Kind:          "ResourceQuota",
		ReturnDeleted: true,
		Singular:      "resourcequota",
		ShortNames:    []string{"quota"},
		Object:        &corev1.ResourceQuota{},
		List:          &corev1.ResourceQuotaList{},
		Name:          apivalidation.NameIsDNSSubdomain,
		NameOnce:      true,
		Default: func(q quota) {
			podspec.RoundUp(q.Spec.Hard)
			podspec.RoundUp(q.Status.Hard)
			podspec.RoundUp(q.Status.Used)
		},
		Validate:       func(_ context.Context, q, old quota) field.ErrorList { return validateResourceQuota(q, old) },
		NoGeneration:   true,
		Spec:           func(q quota) any { return &q.Spec },
		Status:         func(q quota) any { return &q.Status },
		ValidateStatus: func(_ context.Context, q, _ quota) field.ErrorList { return validateResourceQuotaStatus(q) },
		Columns: []resource.Column[quota]{
			{Name: "Request", Type: "string", Help: "Request represents a minimum amount of cpu/memory that a container may consume.", Value: func(q quota) any { requests, _ := quotaText(q); return requests }},
			{Name: "Limit", Type: "string", Help: "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.", Value: func(q quota) any { _, limits := quotaText(q); return limits }},
		},
	}
}

// quotaText prints used/hard of each resource, limits apart from the rest.
func quotaText(q *corev1.ResourceQuota) (requests, limits string) {
	var r, l []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.Contains(string(name), "limits") {
			l = append(l, text)
		} else {
			r = append(r, text)
		}
	}
	return strings.Join(r, ", "), strings.Join(l, ", ")
}
