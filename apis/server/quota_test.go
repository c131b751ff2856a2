package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"skiff/test/env"
)

func list(amounts map[corev1.ResourceName]string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for n, q := range amounts {
		out[n] = resource.MustParse(q)
	}
	return out
}

// limited makes a namespace with a quota of which nothing is used, and waits
// until admission knows it.
func limited(t *testing.T, s *env.Server, client kubernetes.Interface, name string, spec corev1.ResourceQuotaSpec) string {
	t.Helper()
	ctx := t.Context()
	ns := namespace(t, client, name)
	q, err := client.CoreV1().ResourceQuotas(ns).Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: spec.Hard, Used: corev1.ResourceList{}}
	for n := range spec.Hard {
		q.Status.Used[n] = resource.MustParse("0")
	}
	if q, err = client.CoreV1().ResourceQuotas(ns).UpdateStatus(ctx, q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "admission knows the quota", func() (bool, error) {
		known, err := s.Informers.Core().V1().ResourceQuotas().Lister().ResourceQuotas(ns).Get("q")
		return err == nil && known.ResourceVersion == q.ResourceVersion, err
	})
	return ns
}

func usedOf(t *testing.T, client kubernetes.Interface, ns string, name corev1.ResourceName) string {
	t.Helper()
	q, err := client.CoreV1().ResourceQuotas(ns).Get(t.Context(), "q", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	used := q.Status.Used[name]
	return used.String()
}

func testQuota(t *testing.T, s *env.Server) {
	client := kubernetes.NewForConfigOrDie(s.Admin())
	t.Run("parallel creation", func(t *testing.T) {
		const allowed, tried = 10, 60
		ns := limited(t, s, client, "quota-parallel", corev1.ResourceQuotaSpec{Hard: list(map[corev1.ResourceName]string{"count/secrets": fmt.Sprint(allowed)})})
		var all sync.WaitGroup
		for range tried {
			all.Go(func() {
				_, err := client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}, metav1.CreateOptions{})
				if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsConflict(err) {
					t.Errorf("creating: %v", err)
				}
			})
		}
		all.Wait()
		made, err := client.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(made.Items) > allowed || len(made.Items) == 0 {
			t.Errorf("%d secrets, %v; allowed are %d", len(made.Items), err, allowed)
		}
		if got := usedOf(t, client, ns, "count/secrets"); got != fmt.Sprint(len(made.Items)) {
			t.Errorf("%s charged for %d", got, len(made.Items))
		}
	})
	t.Run("messages", func(t *testing.T) { testQuotaMessages(t, s, client) })
	t.Run("scopes", func(t *testing.T) { testQuotaScopes(t, s, client) })
	t.Run("update", func(t *testing.T) { testQuotaUpdate(t, s, client) })
}

func asking(name string, requests, limits map[corev1.ResourceName]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "example.com/c:1", Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)},
	}}}}
}

func testQuotaMessages(t *testing.T, s *env.Server, client kubernetes.Interface) {
	ctx := t.Context()
	ns := limited(t, s, client, "quota-messages", corev1.ResourceQuotaSpec{Hard: list(map[corev1.ResourceName]string{"requests.cpu": "1", "limits.memory": "1Gi"})})
	refused := func(pod *corev1.Pod, want string) {
		t.Helper()
		_, err := client.CoreV1().Pods(ns).Create(ctx, pod, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	refused(asking("none", nil, nil), `is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c`)
	refused(asking("big", map[corev1.ResourceName]string{"cpu": "1500m"}, map[corev1.ResourceName]string{"memory": "2Gi"}),
		`pods "big" is forbidden: exceeded quota: q, requested: limits.memory=2Gi,requests.cpu=1500m, used: limits.memory=0,requests.cpu=0, limited: limits.memory=1Gi,requests.cpu=1`)
	fits := asking("fits", map[corev1.ResourceName]string{"cpu": "600m"}, map[corev1.ResourceName]string{"memory": "1Mi"})
	if _, err := client.CoreV1().Pods(ns).Create(ctx, fits, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Error(err)
	}
	if got := usedOf(t, client, ns, "requests.cpu"); got != "0" {
		t.Errorf("a dry run was charged: %s", got)
	}
	if _, err := client.CoreV1().Pods(ns).Create(ctx, fits, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if got := usedOf(t, client, ns, "requests.cpu"); got != "600m" {
		t.Errorf("charged %s", got)
	}
	refused(asking("more", map[corev1.ResourceName]string{"cpu": "600m"}, map[corev1.ResourceName]string{"memory": "1Mi"}),
		`pods "more" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1`)
}

func testQuotaScopes(t *testing.T, s *env.Server, client kubernetes.Interface) {
	ns := limited(t, s, client, "quota-scopes", corev1.ResourceQuotaSpec{
		Hard: list(map[corev1.ResourceName]string{"pods": "0"}), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort},
	})
	if _, err := client.CoreV1().Pods(ns).Create(t.Context(), asking("best", nil, nil), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("in scope: %v", err)
	}
	if _, err := client.CoreV1().Pods(ns).Create(t.Context(), asking("burst", map[corev1.ResourceName]string{"cpu": "1m"}, nil), metav1.CreateOptions{}); err != nil {
		t.Errorf("out of scope: %v", err)
	}
}

func testQuotaUpdate(t *testing.T, s *env.Server, client kubernetes.Interface) {
	ctx := t.Context()
	ns := limited(t, s, client, "quota-update", corev1.ResourceQuotaSpec{Hard: list(map[corev1.ResourceName]string{"services": "2", "services.nodeports": "1", "requests.cpu": "500m"})})
	services := client.CoreV1().Services(ns)
	if _, err := services.Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "a", Port: 1}, {Name: "b", Port: 2}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	change := func(edit func(*corev1.Service)) error {
		return retry.RetryOnConflict(retry.DefaultRetry, func() error {
			svc, err := services.Get(ctx, "s", metav1.GetOptions{})
			if err != nil {
				return err
			}
			edit(svc)
			_, err = services.Update(ctx, svc, metav1.UpdateOptions{})
			return err
		})
	}
	if err := change(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1") {
		t.Errorf("two node ports: %v", err)
	}
	if err := change(func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeNodePort, s.Spec.Ports[:1] }); err != nil {
		t.Errorf("one node port: %v", err)
	}
	if got := usedOf(t, client, ns, "services.nodeports"); got != "1" {
		t.Errorf("charged %s node ports", got)
	}
	if _, err := client.CoreV1().Pods(ns).Create(ctx, asking("p", map[corev1.ResourceName]string{"cpu": "300m"}, nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod, err := client.CoreV1().Pods(ns).Get(ctx, "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Spec.Containers[0].Resources.Requests = list(map[corev1.ResourceName]string{"cpu": "600m"})
	if _, err = client.CoreV1().Pods(ns).UpdateResize(ctx, "p", pod, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "requested: requests.cpu=300m, used: requests.cpu=300m, limited: requests.cpu=500m") {
		t.Errorf("resizing beyond the quota: %v", err)
	}
	pod.Spec.Containers[0].Resources.Requests = list(map[corev1.ResourceName]string{"cpu": "500m"})
	if _, err = client.CoreV1().Pods(ns).UpdateResize(ctx, "p", pod, metav1.UpdateOptions{}); err != nil {
		t.Errorf("resizing within the quota: %v", err)
	}
	if got := usedOf(t, client, ns, "requests.cpu"); got != "500m" {
		t.Errorf("charged %s after the resize", got)
	}
}

func testTopology(t *testing.T, s *env.Server) {
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Admin())
	ns := namespace(t, client, "topology")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "topology", Labels: map[string]string{corev1.LabelTopologyZone: "z", corev1.LabelTopologyRegion: "r", "disk": "d"}}}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "admission knows the node", func() (bool, error) {
		_, err := s.Informers.Core().V1().Nodes().Lister().Get("topology")
		return err == nil, err
	})
	bound := asking("bound", nil, nil)
	bound.Labels = map[string]string{corev1.LabelTopologyZone: "mine", "app": "a"}
	if _, err := client.CoreV1().Pods(ns).Create(ctx, bound, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().Pods(ns).Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "bound"}, Target: corev1.ObjectReference{Kind: "Node", Name: "topology"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	assigned := asking("assigned", nil, nil)
	assigned.Spec.NodeName = "topology"
	if _, err := client.CoreV1().Pods(ns).Create(ctx, assigned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lost := asking("lost", nil, nil)
	lost.Spec.NodeName = "nowhere"
	if _, err := client.CoreV1().Pods(ns).Create(ctx, lost, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]map[string]string{
		"bound":    {corev1.LabelTopologyZone: "z", corev1.LabelTopologyRegion: "r", "app": "a"},
		"assigned": {corev1.LabelTopologyZone: "z", corev1.LabelTopologyRegion: "r"},
		"lost":     {},
	} {
		pod, err := client.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(pod.Labels) != fmt.Sprint(want) {
			t.Errorf("%s: labels %v, want %v", name, pod.Labels, want)
		}
	}
}
