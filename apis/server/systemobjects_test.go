package server_test

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"skiff/apis/server/bootstrap"
	"skiff/test/env"
)

const autoUpdate = flowcontrolv1.AutoUpdateAnnotationKey

// TestFlowControlProducer changes default objects and expects the server to
// mend those that are its own.
func TestFlowControlProducer(t *testing.T) {
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(env.Start(t, env.Options{}).Admin())
	schemas, levels := client.FlowcontrolV1().FlowSchemas(), client.FlowcontrolV1().PriorityLevelConfigurations()
	// What is read may have got a status in between.
	change := func(fn func() error) {
		t.Helper()
		if err := retry.RetryOnConflict(retry.DefaultBackoff, fn); err != nil {
			t.Fatal(err)
		}
	}
	schema := func(name, annotation string, precedence int32) {
		t.Helper()
		change(func() error {
			s, err := schemas.Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				s = &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: flowcontrolv1.FlowSchemaSpec{
					PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "workload-low"},
				}}
				s, err = schemas.Create(ctx, s, metav1.CreateOptions{})
			}
			if err != nil {
				return err
			}
			if s.Annotations = nil; annotation != "" {
				s.Annotations = map[string]string{autoUpdate: annotation}
			}
			if precedence != 0 {
				s.Spec.MatchingPrecedence = precedence
			}
			_, err = schemas.Update(ctx, s, metav1.UpdateOptions{})
			return err
		})
	}
	schema("service-accounts", "false", 9001) // the operator's
	schema("global-default", "true", 9002)
	schema("kube-controller-manager", "", 9003) // changed, so the operator's
	schema("kube-scheduler", "nonsense", 0)
	schema("obsolete", "true", 0)
	schema("own", "", 0)
	schema("retired", "false", 0)
	change(func() error {
		catchAll, err := levels.Get(ctx, "catch-all", metav1.GetOptions{})
		if err == nil {
			catchAll.Annotations[autoUpdate] = "false" // its spec is validated to stay
			_, err = levels.Update(ctx, catchAll, metav1.UpdateOptions{})
		}
		return err
	})
	if err := schemas.Delete(ctx, "probes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	unchanged, err := schemas.Get(ctx, "system-nodes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := (bootstrap.Bootstrap{Client: client}).FlowControl(ctx); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		annotation string
		precedence int32
	}{
		"service-accounts": {"false", 9001}, "global-default": {"true", 9900}, "kube-controller-manager": {"false", 9003},
		"kube-scheduler": {"true", 800}, "own": {"", 1000}, "retired": {"false", 1000}, "probes": {"true", 2},
	} {
		s, err := schemas.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Error(err)
		} else if s.Annotations[autoUpdate] != want.annotation || s.Spec.MatchingPrecedence != want.precedence {
			t.Errorf("%s: annotation %q, precedence %d, want %+v", name, s.Annotations[autoUpdate], s.Spec.MatchingPrecedence, want)
		}
	}
	if _, err := schemas.Get(ctx, "obsolete", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the obsolete schema: %v", err)
	}
	if catchAll, err := levels.Get(ctx, "catch-all", metav1.GetOptions{}); err != nil || catchAll.Annotations[autoUpdate] != "true" {
		t.Errorf("the mandatory level: %+v, %v", catchAll, err)
	}
	if s, err := schemas.Get(ctx, "system-nodes", metav1.GetOptions{}); err != nil || s.Generation != unchanged.Generation || s.Annotations[autoUpdate] != "true" {
		t.Errorf("the unchanged schema: %+v, %v", s, err)
	}
}

// TestIdentityLease follows the lease of a server through its life.
func TestIdentityLease(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s := env.Start(t, env.Options{Dir: dir})
	leases := kubernetes.NewForConfigOrDie(s.Admin()).CoordinationV1().Leases("kube-system")
	selector := metav1.ListOptions{LabelSelector: "apiserver.kubernetes.io/identity=kube-apiserver"}
	lease := func() *coordinationv1.Lease {
		t.Helper()
		var found *coordinationv1.LeaseList
		eventually(t, "one lease", func() (bool, error) {
			var err error
			found, err = leases.List(ctx, selector)
			return err == nil && len(found.Items) == 1, err
		})
		return &found.Items[0]
	}
	first := lease()
	eventually(t, "the lease is renewed", func() (bool, error) {
		now := lease()
		return now.UID == first.UID && now.Spec.RenewTime.After(first.Spec.RenewTime.Time), nil
	})
	plant := func(name string, labelled bool, age time.Duration) {
		t.Helper()
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: coordinationv1.LeaseSpec{
			LeaseDurationSeconds: ptr.To(int32(3600)), RenewTime: ptr.To(metav1.NewMicroTime(time.Now().Add(-age))), HolderIdentity: ptr.To(name),
		}}
		if labelled {
			l.Labels = first.Labels
		}
		if _, err := leases.Create(ctx, l, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	plant("apiserver-silent", true, 2*time.Hour)
	plant("apiserver-alive", true, time.Minute)
	plant("another", false, 2*time.Hour)
	s.Stop()
	s = env.Start(t, env.Options{Dir: dir})
	leases = kubernetes.NewForConfigOrDie(s.Admin()).CoordinationV1().Leases("kube-system")
	eventually(t, "the silent server is forgotten", func() (bool, error) {
		_, err := leases.Get(ctx, "apiserver-silent", metav1.GetOptions{})
		return apierrors.IsNotFound(err), err
	})
	for _, name := range []string{"apiserver-alive", "another"} {
		if _, err := leases.Get(ctx, name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "the server claims its lease anew", func() (bool, error) {
		l, err := leases.Get(ctx, first.Name, metav1.GetOptions{})
		return err == nil && l.UID != first.UID && *l.Spec.HolderIdentity != *first.Spec.HolderIdentity, err
	})
}
