package apps

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
}

func expect(t *testing.T, got error, want string) {
	t.Helper()
	if (got == nil) != (want == "") || (got != nil && !strings.Contains(got.Error(), want)) {
		t.Errorf("got %v, want %q", got, want)
	}
}

func TestDeployment(t *testing.T) {
	none := intstr.FromInt32(0)
	for name, c := range map[string]struct {
		change func(*appsv1.Deployment)
		want   string
	}{
		"defaults are valid": {func(*appsv1.Deployment) {}, ""},
		"no selector":        {func(d *appsv1.Deployment) { d.Spec.Selector = nil }, "spec.selector: Required value"},
		"other pods":         {func(d *appsv1.Deployment) { d.Spec.Template.Labels = nil }, "`selector` does not match template `labels`"},
		"stuck rollout": {func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate.MaxSurge, d.Spec.Strategy.RollingUpdate.MaxUnavailable = &none, &none
		}, "may not be 0 when `maxSurge` is 0"},
		"recreate rolling": {func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }, "may not be specified when strategy `type` is 'Recreate'"},
		"too slow":         {func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 600 }, "must be greater than minReadySeconds"},
		"ends":             {func(d *appsv1.Deployment) { d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever }, `supported values: "Always"`},
	} {
		t.Run(name, func(t *testing.T) {
			d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: selector(), Template: template()}}
			defaultDeployment(d)
			c.change(d)
			expect(t, validateDeployment(context.Background(), d, nil).ToAggregate(), c.want)
		})
	}
}

func TestDeploymentStatus(t *testing.T) {
	two, one := int32(2), int32(1)
	old := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}, Status: appsv1.DeploymentStatus{CollisionCount: &two}}
	for _, c := range []struct {
		status appsv1.DeploymentStatus
		want   string
	}{
		{appsv1.DeploymentStatus{Replicas: 2, ReadyReplicas: 1, CollisionCount: &two}, ""},
		{appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 2, CollisionCount: &two}, "cannot be greater than status.replicas"},
		{appsv1.DeploymentStatus{Replicas: -1, CollisionCount: &two}, "greater than or equal to 0"},
		{appsv1.DeploymentStatus{CollisionCount: &one}, "cannot be decremented"},
	} {
		d := old.DeepCopy()
		d.Status = c.status
		expect(t, validateDeploymentStatus(context.Background(), d, old).ToAggregate(), c.want)
	}
}

// Pods may mount what the claim templates give them.
func TestStatefulSetClaims(t *testing.T) {
	s := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Selector: selector(), Template: template()}}
	s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	defaultStatefulSet(s)
	expect(t, validateStatefulSet(context.Background(), s, nil).ToAggregate(), `Not found: "data"`)
	claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}}
	claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: apiresource.MustParse("1Gi")}
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim}
	defaultStatefulSet(s)
	expect(t, validateStatefulSet(context.Background(), s, nil).ToAggregate(), "")
	if got := s.Spec.VolumeClaimTemplates[0]; got.Kind != "PersistentVolumeClaim" || got.Status.Phase != corev1.ClaimPending {
		t.Errorf("claim template not completed: %+v", got)
	}
	changed := s.DeepCopy()
	changed.Spec.VolumeClaimTemplates[0].Spec.AccessModes = nil
	expect(t, validateStatefulSet(context.Background(), changed, s).ToAggregate(), "volumeClaimTemplates: Invalid value")
	scaled := s.DeepCopy()
	*scaled.Spec.Replicas = 5
	expect(t, validateStatefulSet(context.Background(), scaled, s).ToAggregate(), "")
}

func TestDaemonSetTemplateGeneration(t *testing.T) {
	d := &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Selector: selector(), Template: template()}}
	prepareDaemonSet(context.Background(), d, nil)
	same, other := d.DeepCopy(), d.DeepCopy()
	other.Spec.Template.Spec.Containers[0].Image = "j"
	same.Annotations = nil // nobody but the server counts
	prepareDaemonSet(context.Background(), same, d)
	prepareDaemonSet(context.Background(), other, d)
	if d.Annotations[templateGeneration] != "1" || same.Annotations[templateGeneration] != "1" || other.Annotations[templateGeneration] != "2" {
		t.Errorf("got %q, %q, %q", d.Annotations, same.Annotations, other.Annotations)
	}
}
