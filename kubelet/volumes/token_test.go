package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"skiff/kubelet/internal/mounttest"
)

// issuer answers token requests with numbered tokens that live as long as they were asked to.
type issuer struct {
	away     atomic.Bool // fails every request
	issued   int
	requests []*authenticationv1.TokenRequest
}

func (i *issuer) react(action clienttesting.Action) (bool, runtime.Object, error) {
	create, ok := action.(clienttesting.CreateActionImpl)
	if !ok || create.GetSubresource() != "token" {
		return false, nil, nil
	}
	if i.away.Load() {
		return true, nil, errors.New("the API is away")
	}
	request := create.GetObject().(*authenticationv1.TokenRequest).DeepCopy()
	i.requests = append(i.requests, request)
	i.issued++
	request.Status.Token = fmt.Sprintf("token-%d", i.issued)
	request.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second))
	return true, request, nil
}

func tokenVolume(seconds int64) corev1.Volume {
	return corev1.Volume{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To[int32](0o644), Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: "vault", ExpirationSeconds: &seconds, Path: "token",
		}}},
	}}}
}

func TestTokensAreRotated(t *testing.T) {
	mounttest.Need(t)
	for _, c := range []struct {
		name    string
		seconds int64
		renewed time.Duration
	}{
		{"after 80 % of their life", 3600, 48 * time.Minute},
		{"after a day", 7 * 24 * 3600, 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			cleanMounts(t, root)
			synctest.Test(t, func(t *testing.T) { rotates(t, root, c.seconds, c.renewed) })
		})
	}
}

func rotates(t *testing.T, root string, seconds int64, renewed time.Duration) {
	t.Helper()
	client, tokens := fake.NewClientset(), &issuer{}
	client.PrependReactor("create", "serviceaccounts", tokens.react)
	m, err := New(Config{Root: root}, Deps{Client: client, Informers: informers.NewSharedInformerFactory(client, 0)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() { cancel(); <-done }()

	pod := podWith(tokenVolume(seconds))
	paths, err := m.Mount(ctx, pod)
	if err != nil {
		t.Fatal(err)
	}
	holds := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(paths["token"], "token")); err != nil || string(got) != want {
			t.Fatalf("after %v the file holds %q (%v), want %q", renewed, got, err, want)
		}
	}
	if _, err := m.Mount(ctx, pod); err != nil || tokens.issued != 1 {
		t.Errorf("mounting again issued %d tokens (%v)", tokens.issued, err)
	}
	spec := tokens.requests[0].Spec
	if len(spec.Audiences) != 1 || spec.Audiences[0] != "vault" || spec.BoundObjectRef.UID != pod.UID || spec.BoundObjectRef.Kind != "Pod" {
		t.Errorf("asked for %+v", spec)
	}
	time.Sleep(renewed - time.Second)
	synctest.Wait()
	holds("token-1")
	// While the API is away the old token stays, and it is replaced once the API is back.
	tokens.away.Store(true)
	time.Sleep(2 * time.Second)
	synctest.Wait()
	holds("token-1")
	tokens.away.Store(false)
	time.Sleep(tokenRetry)
	synctest.Wait()
	holds("token-2")
	if err := m.Unmount(ctx, pod.UID); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * 24 * time.Hour)
	synctest.Wait()
	if tokens.issued != 2 {
		t.Errorf("%d tokens were issued, the last for a pod that is gone", tokens.issued)
	}
}

func TestTokenModes(t *testing.T) {
	t.Parallel()
	container := func(user *int64) corev1.Container {
		return corev1.Container{SecurityContext: &corev1.SecurityContext{RunAsUser: user}}
	}
	pod := func(sc *corev1.PodSecurityContext, containers ...corev1.Container) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: sc, Containers: containers}}
	}
	one, two := ptr.To[int64](1), ptr.To[int64](2)
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		user *int64
		mode os.FileMode
	}{
		"nobody in particular":   {pod(nil, container(nil)), nil, 0o644},
		"one user":               {pod(nil, container(one), container(one)), one, 0o600},
		"the pod's user":         {pod(&corev1.PodSecurityContext{RunAsUser: two}, container(nil)), two, 0o600},
		"several users":          {pod(nil, container(one), container(two)), nil, 0o644},
		"one container unlike":   {pod(nil, container(one), container(nil)), nil, 0o644},
		"a group":                {pod(&corev1.PodSecurityContext{FSGroup: one}, container(nil)), nil, 0o600},
		"an overridden pod user": {pod(&corev1.PodSecurityContext{RunAsUser: two}, container(one)), one, 0o600},
	} {
		client, tokens := fake.NewClientset(), &issuer{}
		client.PrependReactor("create", "serviceaccounts", tokens.react)
		to := target{files{}, modes{mode: 0o644}}
		source := &corev1.ServiceAccountTokenProjection{Path: "token"}
		if _, err := (projections{client: client}).addToken(t.Context(), &volume{pod: c.pod, tokens: tokenCache{}}, source, to); err != nil {
			t.Fatal(err)
		}
		if f := to.files["token"]; f.mode != c.mode || ptr.Deref(f.user, -1) != ptr.Deref(c.user, -1) {
			t.Errorf("%s: mode %v and user %v, want %v and %v", name, f.mode, f.user, c.mode, c.user)
		}
	}
}
