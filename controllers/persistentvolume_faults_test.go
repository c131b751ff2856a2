package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"skiff/controllers"
	"skiff/test/env"
)

// lossy fails two of three writes: one before it reaches the server, one after, so that only the answer is lost.
type lossy struct {
	next   http.RoundTripper
	writes *atomic.Int64
}

func (l lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/events") {
		return l.next.RoundTrip(r)
	}
	n := l.writes.Add(1)
	if n%3 == 1 {
		return nil, errors.New("the request was lost")
	}
	response, err := l.next.RoundTrip(r)
	if n%3 == 2 && err == nil {
		_ = response.Body.Close()
		return nil, errors.New("the answer was lost")
	}
	return response, err
}

// TestBindingSurvivesFaults binds and releases while most of the binder's writes fail, before a second server's
// controllers take over: every claim gets a volume of its own, and both sides agree.
func TestBindingSurvivesFaults(t *testing.T) {
	s := env.Start(t, env.Options{})
	c := &cluster{t: t, client: kubernetes.NewForConfigOrDie(s.Admin()), server: s}
	var writes atomic.Int64
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		factory := informers.NewSharedInformerFactoryWithOptions(c.client, 0, informers.WithTransform(trim))
		all, err := controllers.New(controllers.Default(), controllers.Deps{
			Informers: factory, RootCA: s.PKI.CA(), Tokens: signer{}, Authority: newAuthority(),
			ClientConfig: func(user string, groups ...string) *rest.Config {
				cfg := s.Config(user, groups...)
				if strings.HasSuffix(user, ":persistent-volume-binder") {
					cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return lossy{next, &writes} })
				}
				return cfg
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		factory.StartWithContext(ctx)
		ended := make(chan error, 1)
		go func() { ended <- all.Run(ctx) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("controllers: %v", err)
			}
			factory.Shutdown()
		}
	}
	const count = 6
	stop := run()
	c.namespace("shop")
	for i := range count {
		c.claim(fmt.Sprintf("data-%d", i), ptr(""))
		c.volume(fmt.Sprintf("disk-%d", i), "", "1Gi", corev1.PersistentVolumeReclaimRetain)
	}
	c.eventually("the first binding", func(ctx context.Context) string { return c.bindings(ctx, 1) })
	stop()
	stop = run()
	defer func() { stop() }()
	c.eventually("bindings", func(ctx context.Context) string { return c.bindings(ctx, count) })
	if err := c.client.CoreV1().PersistentVolumeClaims("shop").Delete(t.Context(), "data-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("release", func(ctx context.Context) string {
		list, err := c.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for _, v := range list.Items {
			if v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Name == "data-0" && v.Status.Phase == corev1.VolumeReleased {
				return ""
			}
		}
		return "none is released"
	})
	if n := writes.Load(); n < 3*count {
		t.Errorf("only %d writes went through the fault", n)
	}
}

// bindings says what is wrong with the bindings; "" if at least so many claims are bound and nothing contradicts.
func (c *cluster) bindings(ctx context.Context, atLeast int) string {
	claims, err := c.client.CoreV1().PersistentVolumeClaims("shop").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	owners := map[string]string{}
	for _, claim := range claims.Items {
		if claim.Status.Phase == corev1.ClaimLost {
			c.t.Fatalf("claim %s is lost", claim.Name)
		}
		name := claim.Spec.VolumeName
		if name == "" {
			continue
		}
		if other := owners[name]; other != "" {
			c.t.Fatalf("%s and %s have volume %s", other, claim.Name, name)
		}
		owners[name] = claim.Name
		volume, err := c.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID != claim.UID {
			c.t.Fatalf("claim %s has volume %s, which has %+v", claim.Name, name, volume.Spec.ClaimRef)
		}
		if claim.Status.Phase != corev1.ClaimBound || volume.Status.Phase != corev1.VolumeBound {
			return fmt.Sprintf("%s is %s, %s is %s", claim.Name, claim.Status.Phase, name, volume.Status.Phase)
		}
	}
	if len(owners) < atLeast {
		return fmt.Sprintf("%d are bound", len(owners))
	}
	return ""
}
