package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/cri"
	"skiff/kubelet/pod"
)

// store is an image store with a registry behind it that wants a password for names with "private" in them.
type store struct {
	have  map[string]bool
	fail  error
	pulls []string
}

func (s *store) Image(_ context.Context, name string) (cri.Image, bool, error) {
	if s.have[name] {
		return cri.Image{ID: "sha256:" + name, Size: 42}, true, nil
	}
	return cri.Image{}, false, nil
}

func (s *store) Pull(_ context.Context, name string, c *cri.AuthConfig, _ *cri.SandboxConfig) (string, error) {
	who := "anonymous"
	if c != nil {
		who = c.Username + ":" + c.Password
	}
	s.pulls = append(s.pulls, name+" as "+who)
	if s.fail != nil {
		return "", s.fail
	}
	if strings.Contains(name, "private") && who != "me:secret" {
		return "", errors.New("unauthorized")
	}
	s.have[name] = true
	return name, nil
}

type events []string

func (e *events) Event(_ *corev1.Pod, _, _, reason, message string) {
	*e = append(*e, reason+" "+message)
}

func ensure(m *Manager, image string, policy corev1.PullPolicy, secrets ...string) (string, string) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}}
	for _, s := range secrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
	}
	ref, err := m.Ensure(context.Background(), p, &corev1.Container{Name: "c", Image: image, ImagePullPolicy: policy}, nil)
	var wait *pod.WaitError
	if errors.As(err, &wait) {
		return "", wait.Reason
	}
	return ref, fmt.Sprint(err)
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		name, image string
		policy      corev1.PullPolicy
		have        bool
		pulls       int
		err         string
	}{
		{"missing", "r.io/a:1", corev1.PullIfNotPresent, false, 1, "<nil>"},
		{"present", "r.io/a:1", corev1.PullIfNotPresent, true, 0, "<nil>"},
		{"always", "r.io/a:1", corev1.PullAlways, true, 1, "<nil>"},
		{"never, present", "r.io/a:1", corev1.PullNever, true, 0, "<nil>"},
		{"never, missing", "r.io/a:1", corev1.PullNever, false, 0, "ErrImageNeverPull"},
		{"bad name", "R.io/A B", corev1.PullIfNotPresent, false, 0, "InvalidImageName"},
		{"default tag", "r.io/a", corev1.PullIfNotPresent, false, 1, "<nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &store{have: map[string]bool{c.image: c.have}}
			if _, err := ensure(New(Config{MaxParallelPulls: 1}, s, nil, &events{}), c.image, c.policy); err != c.err {
				t.Errorf("error %s", err)
			}
			if len(s.pulls) != c.pulls {
				t.Errorf("pulls %v", s.pulls)
			}
			if c.name == "default tag" && s.pulls[0] != "r.io/a:latest as anonymous" {
				t.Errorf("pulls %v", s.pulls)
			}
		})
	}
}

func TestBackOffAndItsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, e := &store{have: map[string]bool{}, fail: errors.New("no route")}, &events{}
		m := New(Config{}, s, nil, e)
		var got []string
		for range 4 {
			_, err := ensure(m, "r.io/a:1", corev1.PullIfNotPresent)
			got = append(got, err)
			time.Sleep(4 * time.Second)
		}
		if want := []string{"ErrImagePull", "ImagePullBackOff", "ImagePullBackOff", "ErrImagePull"}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		s.fail = nil
		time.Sleep(20 * time.Second)
		if _, err := ensure(m, "r.io/a:1", corev1.PullIfNotPresent); err != "<nil>" {
			t.Errorf("error %s", err)
		}
		for _, want := range []string{
			`Pulling Pulling image "r.io/a:1"`, `Failed Failed to pull image "r.io/a:1": no route`, "Failed Error: ErrImagePull",
			`BackOff Back-off pulling image "r.io/a:1"`, "Failed Error: ImagePullBackOff",
			`Pulled Successfully pulled image "r.io/a:1" in 0s (0s including waiting). Image size: 42 bytes.`,
		} {
			if !slices.Contains(*e, want) {
				t.Errorf("no event %q in %q", want, *e)
			}
		}
	})
}

func TestPullSecrets(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	secrets := func(_ context.Context, _, name string) (*corev1.Secret, error) {
		switch name {
		case "good":
			return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
				corev1.DockerConfigJsonKey: []byte(`{"auths":{"r.io:5000":{"auth":"` + auth + `"},"r.io":{"username":"x","password":"y"}}}`),
			}}, nil
		case "old":
			return &corev1.Secret{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{
				corev1.DockerConfigKey: []byte(`{"https://r.io:5000/v1/":{"username":"old","password":"one"}}`),
			}}, nil
		}
		return nil, errors.New("not found")
	}
	s, e := &store{have: map[string]bool{}}, &events{}
	if _, err := ensure(New(Config{}, s, secrets, e), "r.io:5000/private/a:1", corev1.PullIfNotPresent, "missing", "old", "good"); err != "<nil>" {
		t.Errorf("error %s", err)
	}
	if want := []string{"r.io:5000/private/a:1 as old:one", "r.io:5000/private/a:1 as me:secret"}; !slices.Equal(s.pulls, want) {
		t.Errorf("pulls %v", s.pulls)
	}
	if !slices.Contains(*e, "FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (missing); attempting to pull the image may not succeed.") {
		t.Errorf("events %q", *e)
	}
}

func TestKeyringMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, repository string
		want                bool
	}{
		{"r.io", "r.io/a", true},
		{"r.io", "r.io:5000/a", false},
		{"r.io:5000", "r.io:5000/a/b", true},
		{"r.io/team", "r.io/team/a", true},
		{"r.io/team", "r.io/other/a", false},
		{"*.r.io", "x.r.io/a", true},
		{"*.r.io", "r.io/a", false},
		{"*.r.io", "x.y.r.io/a", false},
		{"https://index.docker.io/v1/", "docker.io/library/busybox", true},
	} {
		ring := &Keyring{}
		err := ring.Add(&corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
			corev1.DockerConfigJsonKey: []byte(`{"auths":{"` + c.pattern + `":{"username":"u","password":"p"}}}`),
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(ring.Lookup(c.repository)) == 1; got != c.want {
			t.Errorf("%s for %s: %t", c.pattern, c.repository, got)
		}
	}
}

func TestPick(t *testing.T) {
	now := time.Now()
	image := func(id string, size int64, pinned bool, ago time.Duration) Candidate {
		return Candidate{cri.Image{ID: id, Size: size, Pinned: pinned}, now.Add(-ago)}
	}
	all := []Candidate{image("new", 100, false, time.Second), image("old", 10, false, time.Hour), image("oldest", 20, false, 2*time.Hour), image("pause", 1, true, 9*time.Hour)}
	for want, ids := range map[int64][]string{0: nil, 5: {"oldest"}, 25: {"oldest", "old"}, 1000: {"oldest", "old"}} {
		if got, _ := Pick(all, want, time.Minute, now); !slices.Equal(got, ids) {
			t.Errorf("%d: %v", want, got)
		}
	}
	if got := excess(90, 100, DefaultThresholds()); got != 10 {
		t.Errorf("excess %d", got)
	}
	if got := excess(84, 100, DefaultThresholds()); got != 0 {
		t.Errorf("excess %d", got)
	}
}

func TestMountedImagesAreInUse(t *testing.T) {
	image := cri.Image{ID: "sha256:data", Tags: []string{"r.io/data:1"}, RepoDigests: []string{"r.io/data@sha256:x"}}
	for mounted, want := range map[string]bool{
		"": false, "sha256:data": true, "sha256:other": false, "sha256:other,sha256:data": true, "r.io/data@sha256:x": true, "sha256:dat": false,
	} {
		c := cri.Container{ImageRef: "sha256:run", Annotations: map[string]string{cri.AnnotationImageVolumes: mounted}}
		if got := uses(c, image); got != want {
			t.Errorf("a container that mounts %q uses the image: %v", mounted, got)
		}
	}
}
