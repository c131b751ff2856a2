package volumes

import (
	"context"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

func TestHugePageSize(t *testing.T) {
	t.Parallel()
	asks := func(sizes ...string) *corev1.Pod {
		list := corev1.ResourceList{"cpu": resource.MustParse("1")}
		for _, size := range sizes {
			list[corev1.ResourceName("hugepages-"+size)] = resource.MustParse("4Mi")
		}
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: list}}}}}
	}
	for _, c := range []struct {
		pod    *corev1.Pod
		medium corev1.StorageMedium
		want   int64 // 0 for an error
	}{
		{asks(), "HugePages-2Mi", 2 << 20},
		{asks("2Mi"), "HugePages-1Gi", 1 << 30},
		{asks("2Mi"), "HugePages", 2 << 20},
		{asks(), "HugePages", 0},
		{asks("2Mi", "1Gi"), "HugePages", 0},
		{asks(), "HugePages-many", 0},
	} {
		size, err := hugePageSize(c.pod, c.medium)
		if (err != nil) != (c.want == 0) || size.Value() != c.want {
			t.Errorf("%s gives %s (%v), want %d", c.medium, size.String(), err, c.want)
		}
	}
}

func TestMemoryVolumesAreBounded(t *testing.T) {
	t.Parallel()
	limited := func(limits ...string) *corev1.Pod {
		pod := &corev1.Pod{}
		for _, limit := range limits {
			c := corev1.Container{}
			if limit != "" {
				c.Resources.Limits = corev1.ResourceList{"memory": resource.MustParse(limit)}
			}
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
		return pod
	}
	node := emptyDir{allocatable: func() corev1.ResourceList { return corev1.ResourceList{"memory": resource.MustParse("8Gi")} }}
	for _, c := range []struct {
		kind  emptyDir
		pod   *corev1.Pod
		limit *resource.Quantity
		want  int64
	}{
		{emptyDir{}, limited(""), nil, 0},
		{node, limited(""), nil, 8 << 30},
		{node, limited("1Gi", "2Gi"), nil, 3 << 30},
		{node, limited("1Gi", ""), nil, 8 << 30},
		{node, limited("1Gi"), new(resource.MustParse("2Gi")), 1 << 30},
		{node, limited("3Gi"), new(resource.MustParse("2Gi")), 2 << 30},
		{emptyDir{}, limited(""), new(resource.MustParse("2Gi")), 2 << 30},
	} {
		v := &volume{pod: c.pod, spec: &corev1.Volume{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: c.limit}}}}
		if got := c.kind.memorySize(v); got != c.want {
			t.Errorf("%v with limit %v gets %d, want %d", c.pod.Spec.Containers, c.limit, got, c.want)
		}
	}
}

func TestTrustBundles(t *testing.T) {
	t.Parallel()
	block := func(content string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(content)}))
	}
	bundle := func(name, signer, class string, certificates ...string) *certificatesv1.ClusterTrustBundle {
		return &certificatesv1.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"class": class}},
			Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: strings.Join(certificates, "# comment\n")},
		}
	}
	p := projections{client: fake.NewClientset(
		bundle("one", "example.com/a", "live", block("B"), block("A")), bundle("two", "example.com/a", "live", block("A"), block("C")),
		bundle("three", "example.com/a", "old", block("D")), bundle("four", "example.com/b", "live", block("E")),
	)}
	live := &metav1.LabelSelector{MatchLabels: map[string]string{"class": "live"}}
	for name, c := range map[string]struct {
		source corev1.ClusterTrustBundleProjection
		want   string
		err    string
	}{
		"by name":           {corev1.ClusterTrustBundleProjection{Name: ptr.To("one")}, block("A") + block("B"), ""},
		"by signer":         {corev1.ClusterTrustBundleProjection{SignerName: ptr.To("example.com/a"), LabelSelector: live}, block("A") + block("B") + block("C"), ""},
		"everything of one": {corev1.ClusterTrustBundleProjection{SignerName: ptr.To("example.com/b"), LabelSelector: &metav1.LabelSelector{}}, block("E"), ""},
		"missing":           {corev1.ClusterTrustBundleProjection{Name: ptr.To("no")}, "", `clustertrustbundle "no" not found`},
		"missing, optional": {corev1.ClusterTrustBundleProjection{Name: ptr.To("no"), Optional: new(true)}, "", ""},
		"no selector":       {corev1.ClusterTrustBundleProjection{SignerName: ptr.To("example.com/a")}, "", "matched zero ClusterTrustBundles"},
	} {
		to := target{files{}, modes{mode: 0o644}}
		c.source.Path = "ca.pem"
		again, err := p.addTrustBundle(t.Context(), &c.source, to)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", name, err, c.err)
			}
			continue
		}
		if err != nil || string(to.files["ca.pem"].data) != c.want || again.IsZero() {
			t.Errorf("%s holds %q until %v (%v)", name, to.files["ca.pem"].data, again, err)
		}
	}
}

func TestEphemeralClaimsMustBeThePods(t *testing.T) {
	t.Parallel()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "web-scratch", Namespace: "shop", UID: "claim"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	dir := t.TempDir()
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef:               &corev1.ObjectReference{UID: "claim"},
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
	}}
	b := newBench(t, claim, pv)
	pod := podWith(corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}})
	if _, err := b.Mount(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "was not created for pod") {
		t.Errorf("another's claim: %v", err)
	}
	claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: new(true)}}
	if _, err := b.client.CoreV1().PersistentVolumeClaims("shop").Update(t.Context(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if paths := b.mount(t, pod); paths["scratch"] != dir {
		t.Errorf("the claim's volume is at %s", paths["scratch"])
	}
	b.unmountAll(t, pod)
	if _, err := os.Stat(filepath.Clean(dir)); err != nil {
		t.Errorf("unmounting removed the host's directory: %v", err)
	}
}

func TestRefusedRequestsAreAskedAgainForAWhile(t *testing.T) {
	t.Parallel()
	refused := apierrors.NewForbidden(corev1.Resource("serviceaccounts"), "x", nil)
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		got, err := admitted(t.Context(), func() (string, error) {
			if asked++; asked < 4 {
				return "", refused
			}
			return "yes", nil
		})
		if got != "yes" || err != nil {
			t.Errorf("answered %q, %v", got, err)
		}
		start := time.Now()
		if _, err := admitted(t.Context(), func() (string, error) { return "", refused }); !apierrors.IsForbidden(err) {
			t.Errorf("a lasting refusal: %v", err)
		}
		if took := time.Since(start); took < lastAsk || took > 3*lastAsk {
			t.Errorf("a lasting refusal took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := admitted(ctx, func() (string, error) { return "", refused }); !apierrors.IsForbidden(err) {
			t.Errorf("given up: %v", err)
		}
	})
}

func TestAgenda(t *testing.T) {
	t.Parallel()
	a, now := newAgenda(), time.Unix(1000, 0)
	a.add("later", now.Add(time.Minute))
	a.add("soon", now.Add(time.Second))
	a.add("soon", now.Add(time.Hour)) // does not put it off
	a.add("now", now)
	a.add("gone", now)
	a.drop("gone")
	due, wait := a.take(now)
	if len(due) != 1 || due[0] != types.UID("now") || wait != time.Second {
		t.Errorf("due %v, next in %v", due, wait)
	}
	if due, wait = a.take(now.Add(time.Minute)); len(due) != 2 || wait >= 0 {
		t.Errorf("due %v, next in %v", due, wait)
	}
}
