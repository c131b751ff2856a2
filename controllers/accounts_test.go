package controllers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/controllers"
	"skiff/test/control"
	"skiff/test/env"
)

const day = 24 * time.Hour

// timed is a cluster whose controllers live by another clock than its node and its server.
func timed(t *testing.T, now *control.Clock) *cluster {
	t.Helper()
	c := newServer(t, env.Options{})
	c.control(func(d *controllers.Deps) { d.Clock, d.Tokens = now, c.server.Access.Issuer }, func(cfg *controllers.Config) {
		cfg.NodeMonitorGrace, cfg.NodeStartupGrace = 1e6*time.Hour, 1e6*time.Hour
	})
	return c
}

// TestUnusedTokenStory lets years pass over a token that nobody uses, as the cluster once made for every account.
func TestUnusedTokenStory(t *testing.T) {
	now := control.NewClock(time.Now())
	c := timed(t, now)
	ctx := t.Context()
	accounts, secrets := c.client.CoreV1().ServiceAccounts("default"), c.client.CoreV1().Secrets("default")
	account, err := accounts.Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "robot"}, Secrets: []corev1.ObjectReference{{Name: "robot-token"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"robot-token", "kept"} { // the second one was made by a user: the account does not list it
		if _, err := secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account.Name}}, Type: corev1.SecretTypeServiceAccountToken,
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var token string
	c.eventually("token", func(ctx context.Context) string {
		secret, err := secrets.Get(ctx, "robot-token", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if token = string(secret.Data["token"]); token == "" {
			return "it is empty"
		}
		return ""
	})
	believed := func(ctx context.Context) (bool, error) {
		review, err := c.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return review.Status.Authenticated, nil
	}
	c.eventually("a server that believes it", func(ctx context.Context) string {
		if ok, err := believed(ctx); err != nil || !ok {
			return fmt.Sprintf("believed: %t, %v", ok, err)
		}
		return ""
	})
	now.Jump(400 * day)
	c.eventually("invalid token", func(ctx context.Context) string {
		now.Jump(day)
		secret, err := secrets.Get(ctx, "robot-token", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if secret.Labels["kubernetes.io/legacy-token-invalid-since"] == "" {
			return fmt.Sprint(secret.Labels)
		}
		return ""
	})
	c.eventually("a server that does not believe it", func(ctx context.Context) string {
		if ok, err := believed(ctx); err != nil || ok {
			return fmt.Sprintf("believed: %t, %v", ok, err)
		}
		return ""
	})
	now.Jump(366 * day)
	c.eventually("end of the token", func(ctx context.Context) string {
		now.Jump(day)
		if _, err := secrets.Get(ctx, "robot-token", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
	if kept, err := secrets.Get(ctx, "kept", metav1.GetOptions{}); err != nil || kept.Labels["kubernetes.io/legacy-token-invalid-since"] != "" {
		t.Errorf("the user's token: %v, %v", kept.Labels, err)
	}
}

// TestPodCertificateRequestStory lets a request grow old.
func TestPodCertificateRequestStory(t *testing.T) {
	now := control.NewClock(time.Now())
	c := timed(t, now)
	ctx := t.Context()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stub, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	requests := c.client.CertificatesV1().PodCertificateRequests("default")
	ask := func(name string) {
		if _, err := requests.Create(ctx, &certificatesv1.PodCertificateRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.PodCertificateRequestSpec{
				SignerName: "example.com/pods", PodName: "web", PodUID: "1", ServiceAccountName: "default", ServiceAccountUID: "2", NodeName: nodeName, NodeUID: "3", StubPKCS10Request: stub,
			},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ask("old")
	now.Jump(10 * time.Minute)
	if _, err := requests.Get(ctx, "old", metav1.GetOptions{}); err != nil {
		t.Errorf("after ten minutes: %v", err)
	}
	now.Jump(5*time.Minute + time.Second)
	gone(c, "end of the request", requests.Get, "old")
}

// TestAttributesClassStory deletes a class that a claim has.
func TestAttributesClassStory(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	classes, claims := c.client.StorageV1().VolumeAttributesClasses(), c.client.CoreV1().PersistentVolumeClaims("default")
	if _, err := classes.Create(ctx, &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "gold"}, DriverName: "disks.example.com", Parameters: map[string]string{"iops": "1000"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const finalizer = "kubernetes.io/vac-protection"
	c.eventually("protection", func(ctx context.Context) string {
		class, err := classes.Get(ctx, "gold", metav1.GetOptions{})
		if err != nil || !slices.Contains(class.Finalizers, finalizer) {
			return fmt.Sprintf("%v, %v", class.Finalizers, err)
		}
		return ""
	})
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr("none"), VolumeAttributesClassName: ptr("gold"),
		Resources: corev1.VolumeResourceRequirements{Requests: limit(map[corev1.ResourceName]string{"storage": "1Gi"})},
	}}
	if _, err := claims.Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("a pending claim", func(ctx context.Context) string { // by then the controllers know it
		claim, err := claims.Get(ctx, "data", metav1.GetOptions{})
		if err != nil || claim.Status.Phase != corev1.ClaimPending || !slices.Contains(claim.Finalizers, "kubernetes.io/pvc-protection") {
			return fmt.Sprintf("%+v, %v", claim, err)
		}
		return c.eventOf(ctx, "default", "data", "persistentvolume-controller", "ProvisioningFailed", `storageclass.storage.k8s.io "none" not found`)
	})
	if err := classes.Delete(ctx, "gold", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if class, err := classes.Get(ctx, "gold", metav1.GetOptions{}); err != nil || class.DeletionTimestamp == nil {
		t.Errorf("the class of a claim: %v, %v", class, err)
	}
	if err := claims.Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone(c, "end of the class", classes.Get, "gold")
}

// busyKubelet serves the resource metrics of the cluster's node: each pod of the namespace uses a whole processor.
func (c *cluster) busyKubelet(namespace string) {
	c.t.Helper()
	pair, err := tls.LoadX509KeyPair(c.server.PKI.File("apiserver.crt"), c.server.PKI.File("apiserver.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	start := time.Now()
	kubelet := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 || r.URL.Path != "/metrics/resource" {
			http.Error(w, "not allowed", http.StatusForbidden)
			return
		}
		now := time.Now()
		used, at := now.Sub(start).Seconds(), now.UnixMilli()
		fmt.Fprintf(w, "node_cpu_usage_seconds_total %f %d\nnode_memory_working_set_bytes 1048576 %d\n", used, at, at)
		for _, p := range c.pods(r.Context(), namespace) {
			labels := fmt.Sprintf(`{container=%q,namespace=%q,pod=%q}`, p.Spec.Containers[0].Name, namespace, p.Name)
			fmt.Fprintf(w, "container_cpu_usage_seconds_total%s %f %d\ncontainer_memory_working_set_bytes%s 2048 %d\ncontainer_start_time_seconds%s %d\n", labels, used, at, labels, at, labels, start.Unix())
		}
	}))
	kubelet.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	kubelet.StartTLS()
	c.t.Cleanup(kubelet.Close)
	address, ok := kubelet.Listener.Addr().(*net.TCPAddr)
	if !ok {
		c.t.Fatalf("the kubelet listens on %s", kubelet.Listener.Addr())
	}
	kind, patch := merge(fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":%q}],"daemonEndpoints":{"kubeletEndpoint":{"Port":%d}}}}`, address.IP, address.Port))
	if _, err := c.client.CoreV1().Nodes().Patch(c.t.Context(), nodeName, kind, patch, metav1.PatchOptions{}, "status"); err != nil {
		c.t.Fatal(err)
	}
}

// rules makes the rules of a bootstrap role those that change answers, and answers what they were.
func (c *cluster) rules(role string, change func([]rbacv1.PolicyRule) []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	c.t.Helper()
	roles := c.client.RbacV1().ClusterRoles()
	found, err := roles.Get(c.t.Context(), role, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"rules": change(slices.Clone(found.Rules))})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := roles.Patch(c.t.Context(), role, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		c.t.Fatal(err)
	}
	return found.Rules
}

// TestAutoscalerReadsMetrics scales by what the server's own metrics.k8s.io shows of a kubelet, which the autoscaler's
// role lets it read: without that rule it can't.
func TestAutoscalerReadsMetrics(t *testing.T) {
	c := newCluster(t, func(cfg *controllers.Config) {
		cfg.Autoscaling.Period, cfg.Autoscaling.CPUInitialization, cfg.Autoscaling.InitialReadiness = 100*time.Millisecond, 0, 0
	})
	ctx := t.Context()
	c.namespace("shop")
	c.busyKubelet("shop")
	was := c.rules("system:controller:horizontal-pod-autoscaler", func(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
		return slices.DeleteFunc(rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.APIGroups, "metrics.k8s.io") })
	})
	labels := map[string]string{"app": "web"}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "v1"),
	}}
	web.Spec.Template.Spec.Containers[0].Resources.Requests = limit(map[corev1.ResourceName]string{"cpu": "1"})
	if _, err := c.client.AppsV1().Deployments("shop").Create(ctx, web, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.scaled("web", 1)
	if _, err := c.client.AutoscalingV2().HorizontalPodAutoscalers("shop").Create(ctx, autoscaler("web", "Deployment", "apps/v1", "web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const refused = `User "system:serviceaccount:kube-system:horizontal-pod-autoscaler" cannot list resource "pods" in API group "metrics.k8s.io" in the namespace "shop"`
	c.eventually("refusal", func(ctx context.Context) string {
		a, err := c.client.AutoscalingV2().HorizontalPodAutoscalers("shop").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, cond := range a.Status.Conditions {
			if strings.Contains(cond.Message, refused) {
				return ""
			}
		}
		return fmt.Sprintf("%+v", a.Status.Conditions)
	})
	c.rules("system:controller:horizontal-pod-autoscaler", func([]rbacv1.PolicyRule) []rbacv1.PolicyRule { return was })
	c.scaled("web", 2)
	c.conditions("web", "ScalingActive=True ValidMetricFound")
}
