package server_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"skiff/test/env"
)

func testAdmission(t *testing.T, s *env.Server) {
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, client, "admission")

	t.Run("service account", func(t *testing.T) {
		p := pod(t, client, ns, "account", "", nil)
		if p.Spec.ServiceAccountName != "default" || len(p.Spec.Volumes) != 1 {
			t.Fatalf("account %q, volumes %v", p.Spec.ServiceAccountName, p.Spec.Volumes)
		}
		v, m := p.Spec.Volumes[0], p.Spec.Containers[0].VolumeMounts
		if !strings.HasPrefix(v.Name, "kube-api-access-") || v.Projected == nil || len(v.Projected.Sources) != 3 || *v.Projected.DefaultMode != 0o644 {
			t.Errorf("volume %+v", v)
		}
		if got := v.Projected.Sources[0].ServiceAccountToken; got == nil || *got.ExpirationSeconds != 3607 || got.Path != "token" {
			t.Errorf("token %+v", got)
		}
		if len(m) != 1 || m[0].MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" || !m[0].ReadOnly || m[0].Name != v.Name {
			t.Errorf("mounts %+v", m)
		}
		none := pod(t, client, ns, "no-token", "", func(s *corev1.PodSpec) { s.AutomountServiceAccountToken = new(bool) })
		if len(none.Spec.Volumes) != 0 {
			t.Errorf("volumes of a pod that wants no token: %v", none.Spec.Volumes)
		}
		bad := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: corev1.PodSpec{ServiceAccountName: "absent", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		if _, err := client.CoreV1().Pods(ns).Create(ctx, bad, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `serviceaccount "absent" not found`) {
			t.Errorf("an absent account: %v", err)
		}
	})
	t.Run("tolerations and priority", func(t *testing.T) {
		p := pod(t, client, ns, "defaults", "", nil)
		if len(p.Spec.Tolerations) != 2 || *p.Spec.Tolerations[0].TolerationSeconds != 300 {
			t.Errorf("tolerations %v", p.Spec.Tolerations)
		}
		if p.Spec.Priority == nil || *p.Spec.Priority != 0 || *p.Spec.PreemptionPolicy != corev1.PreemptLowerPriority {
			t.Errorf("priority %v, %v", p.Spec.Priority, p.Spec.PreemptionPolicy)
		}
		p = pod(t, client, ns, "critical", "", func(s *corev1.PodSpec) { s.PriorityClassName = "system-node-critical" })
		if *p.Spec.Priority != 2000001000 {
			t.Errorf("priority of a critical pod: %d", *p.Spec.Priority)
		}
		bad := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: corev1.PodSpec{PriorityClassName: "absent", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		if _, err := client.CoreV1().Pods(ns).Create(ctx, bad, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("an absent class: %v", err)
		}
	})
	t.Run("limits", func(t *testing.T) { testLimits(t, client) })
	t.Run("pod security", func(t *testing.T) { testPodSecurity(t, client) })
	t.Run("storage", func(t *testing.T) { testStorage(t, client, ns) })
	t.Run("namespaces", func(t *testing.T) {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
		if _, err := client.CoreV1().ConfigMaps("absent").Create(ctx, cm, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("in an absent namespace: %v", err)
		}
		if err := client.CoreV1().Namespaces().Delete(ctx, "kube-system", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("deleting kube-system: %v", err)
		}
		gone := namespace(t, client, "terminating")
		if err := client.CoreV1().Namespaces().Delete(ctx, gone, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a terminating namespace refuses", func() (bool, error) {
			_, err := client.CoreV1().ConfigMaps(gone).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x"}}, metav1.CreateOptions{})
			return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), err
		})
	})
}

func testLimits(t *testing.T, client kubernetes.Interface) {
	ctx := t.Context()
	ns := namespace(t, client, "limits")
	cpu := func(q string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
	}
	if _, err := client.CoreV1().LimitRanges(ns).Create(ctx, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Default: cpu("200m"), DefaultRequest: cpu("100m"), Max: cpu("1")},
	}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	eventually(t, "defaults are filled in", func() (bool, error) {
		n++
		// Between defaults and checks the plugin may learn of the limits: then the pod is refused for lack of them.
		p, err := client.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p" + strings.Repeat("x", n)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		r := p.Spec.Containers[0].Resources
		return r.Limits.Cpu().String() == "200m" && r.Requests.Cpu().String() == "100m" &&
			p.Annotations["kubernetes.io/limit-ranger"] == "LimitRanger plugin set: cpu request for container c; cpu limit for container c", nil
	})
	big := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "big"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Limits: cpu("2")}}}}}
	_, err := client.CoreV1().Pods(ns).Create(ctx, big, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "maximum cpu usage per Container is 1, but limit is 2") {
		t.Errorf("above the limit: %v", err)
	}
}

func testPodSecurity(t *testing.T, client kubernetes.Interface) {
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "restricted", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account(t, client, "restricted", "default")
	yes := true
	_, err := client.CoreV1().Pods("restricted").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "i", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}},
	}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "baseline:latest": privileged`) {
		t.Errorf("a privileged pod: %v", err)
	}
	pod(t, client, "restricted", "plain", "", nil)
}

func testStorage(t *testing.T, client kubernetes.Interface, ns string) {
	ctx := t.Context()
	if _, err := client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "standard", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "example.com/p",
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n := 0
	eventually(t, "claims get the default class", func() (bool, error) {
		n++
		claim, err := client.CoreV1().PersistentVolumeClaims(ns).Create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "claim-"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		if len(claim.Finalizers) != 1 || claim.Finalizers[0] != "kubernetes.io/pvc-protection" {
			t.Fatalf("finalizers %v", claim.Finalizers)
		}
		return claim.Spec.StorageClassName != nil && *claim.Spec.StorageClassName == "standard", nil
	})
}
