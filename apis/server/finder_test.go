package server

import (
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestFreeForm(t *testing.T) {
	t.Parallel()
	written := metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{FieldsV1: &metav1.FieldsV1{Raw: []byte("[]")}}}}
	template := &corev1.PersistentVolumeClaimTemplate{ObjectMeta: written}
	for name, c := range map[string]struct {
		object any
		want   bool
	}{
		"a pod":                         {&corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{}}}}, false},
		"a claim template of a volume":  {&corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{}, {VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: template}}}}}}, true},
		"a pod template":                {&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: written}}}, true},
		"a Deployment":                  {&appsv1.Deployment{}, false},
		"the data of a revision":        {&appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: []byte("{}")}}, true},
		"a revision without data":       {&appsv1.ControllerRevision{}, false},
		"a type that can hold none":     {&corev1.ObjectReference{}, false},
		"a recursive type, with itself": {&recursive{Next: &recursive{}}, true},
		"a map of what may be": {&struct {
			M map[string]runtime.RawExtension
		}{map[string]runtime.RawExtension{"a": {}, "b": {Raw: []byte("1")}}}, true},
	} {
		find := freeForm(reflect.TypeOf(c.object))
		if got := find != nil && find(reflect.ValueOf(c.object)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	entry := func(raw string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{}, {FieldsV1: &metav1.FieldsV1{Raw: []byte(raw)}}}
	}
	for name, c := range map[string]struct {
		object any
		want   bool
	}{
		"nothing":             {&appsv1.ControllerRevision{}, false},
		"an object":           {&appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: []byte(`{"a": 1}`)}}, false},
		"half an object":      {&appsv1.ControllerRevision{Data: runtime.RawExtension{Raw: []byte(`{"a": 1-2}`)}}, true},
		"managed fields":      {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: entry("{}")}}, false},
		"no managed fields":   {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{ManagedFields: entry("{")}}, true},
		"those of a template": {&corev1.PodTemplate{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{ManagedFields: entry("}")}}}, true},
		"a type without":      {&metav1.Status{}, false},
		"a recursive type":    {&recursive{Next: &recursive{}}, false},
	} {
		find := malformed(reflect.TypeOf(c.object))
		if got := find != nil && find(reflect.ValueOf(c.object)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestEmptiness(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		object any
		want   bool
	}{
		"a pod":                     {&corev1.PodSpec{Containers: []corev1.Container{{Args: []string{"a"}}}}, false},
		"an empty slice within":     {&corev1.PodSpec{Containers: []corev1.Container{{Args: []string{}}}}, true},
		"an empty map":              {&corev1.PodSpec{NodeSelector: map[string]string{}}, true},
		"a filled map":              {&corev1.PodSpec{NodeSelector: map[string]string{"a": "b"}}, false},
		"a map of quantities":       {&corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": {}}}, false},
		"a map of nil slices":       {&corev1.Secret{Data: map[string][]byte{"a": nil}}, false},
		"a map of empty slices":     {&corev1.Secret{Data: map[string][]byte{"a": nil, "b": {}}}, true},
		"a time":                    {&corev1.PodStatus{StartTime: &metav1.Time{}}, false},
		"a type that can hold none": {&corev1.ObjectReference{}, false},
	} {
		find := emptiness(reflect.TypeOf(c.object))
		if got := find != nil && find(reflect.ValueOf(c.object)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

type recursive struct{ Next *recursive }
