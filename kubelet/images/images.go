// Package images makes images present for containers, by their pull policy and with their pod's credentials, and removes images
// that nobody uses when the disk fills.
package images

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff/kubelet/cri"
	"skiff/kubelet/pod"
)

// The back-off of pulls that fail, per pod and image.
const (
	backOffFirst = 10 * time.Second
	backOffMost  = 5 * time.Minute
)

// afterFailure is how long ErrImagePull is shown before ImagePullBackOff.
const afterFailure = 2 * time.Second

// Runtime finds and fetches images.
type Runtime interface {
	Image(ctx context.Context, name string) (cri.Image, bool, error)
	Pull(ctx context.Context, name string, credentials *cri.AuthConfig, of *cri.SandboxConfig) (string, error)
}

// Secrets reads a secret, from a cache where that has it.
type Secrets func(ctx context.Context, namespace, name string) (*corev1.Secret, error)

// Config says how to pull.
type Config struct {
	// MaxParallelPulls is how many images are pulled at once; any number when zero.
	MaxParallelPulls int
}

// Manager ensures images. It is safe for concurrent use.
type Manager struct {
	runtime Runtime
	secrets Secrets
	events  pod.Recorder
	slots   chan struct{}

	mu    sync.Mutex
	waits map[key]backOff
}

type key struct {
	pod   types.UID
	image string
}

// backOff is the state of one image of one pod that could not be pulled.
type backOff struct {
	delay     time.Duration
	until     time.Time
	announced bool
	cause     string
}

// New makes a manager.
func New(config Config, runtime Runtime, secrets Secrets, events pod.Recorder) *Manager {
	m := &Manager{runtime: runtime, secrets: secrets, events: events, waits: map[key]backOff{}}
	if config.MaxParallelPulls > 0 {
		m.slots = make(chan struct{}, config.MaxParallelPulls)
	}
	return m
}

// Ensure answers what the runtime knows the container's image as, pulling it when its policy says so. Its error is a
// *pod.WaitError with the reason that users know.
func (m *Manager) Ensure(ctx context.Context, p *corev1.Pod, c *corev1.Container, sandbox *cri.SandboxConfig) (string, error) {
	name, err := withTag(c.Image)
	if err != nil {
		text := fmt.Sprintf("Failed to apply default image tag %q: %v", c.Image, err)
		return "", m.refuse(p, c, "InspectFailed", "InvalidImageName", text, backOffFirst)
	}
	found, present, err := m.runtime.Image(ctx, name)
	if err != nil {
		return "", m.refuse(p, c, "InspectFailed", "ImageInspectError", fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err), backOffFirst)
	}
	switch {
	case c.ImagePullPolicy == corev1.PullNever && !present:
		text := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		return "", m.refuse(p, c, "ErrImageNeverPull", "ErrImageNeverPull", text, backOffFirst)
	case present && c.ImagePullPolicy != corev1.PullAlways:
		m.events.Event(p, c.Name, corev1.EventTypeNormal, "Pulled",
			fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.Image))
		return found.ID, nil
	}
	return m.pull(ctx, p, c, name, sandbox)
}

// refuse tells users why an image can't be had.
func (m *Manager) refuse(p *corev1.Pod, c *corev1.Container, event, reason, text string, wait time.Duration) error {
	m.events.Event(p, c.Name, corev1.EventTypeWarning, event, text)
	m.events.Event(p, c.Name, corev1.EventTypeWarning, "Failed", "Error: "+reason)
	return &pod.WaitError{Reason: reason, Message: text, Retry: time.Now().Add(wait)}
}

// pull fetches the image unless an earlier failure must be waited for.
func (m *Manager) pull(ctx context.Context, p *corev1.Pod, c *corev1.Container, name string, sandbox *cri.SandboxConfig) (string, error) {
	k := key{p.UID, name}
	if err := m.waiting(p, c, k); err != nil {
		return "", err
	}
	m.events.Event(p, c.Name, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	asked := time.Now()
	if m.slots != nil {
		select {
		case m.slots <- struct{}{}:
			defer func() { <-m.slots }()
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	begun := time.Now()
	ref, err := m.fetch(ctx, p, name, sandbox)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		m.events.Event(p, c.Name, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.Image, err))
		m.events.Event(p, c.Name, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
		m.backOff(k, err)
		return "", &pod.WaitError{Reason: "ErrImagePull", Message: err.Error(), Retry: time.Now().Add(afterFailure)}
	}
	m.Forget(k.pod, k.image)
	size := int64(0)
	if got, present, err := m.runtime.Image(ctx, ref); err == nil && present {
		size = got.Size
	}
	m.events.Event(p, c.Name, corev1.EventTypeNormal, "Pulled", fmt.Sprintf(
		"Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", c.Image,
		time.Since(begun).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond), size))
	return ref, nil
}

// waiting answers the error of an image that isn't to be pulled yet.
func (m *Manager) waiting(p *corev1.Pod, c *corev1.Container, k key) error {
	m.mu.Lock()
	wait, known := m.waits[k]
	again := known && time.Now().Before(wait.until)
	if again && !wait.announced {
		announced := wait
		announced.announced = true
		m.waits[k] = announced
	}
	m.mu.Unlock()
	if !again {
		return nil
	}
	if !wait.announced {
		m.events.Event(p, c.Name, corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", c.Image))
		m.events.Event(p, c.Name, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
	}
	return &pod.WaitError{
		Reason: "ImagePullBackOff", Message: fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", c.Image, wait.cause), Retry: wait.until,
	}
}

func (m *Manager) backOff(k key, cause error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delay := min(max(2*m.waits[k].delay, backOffFirst), backOffMost)
	m.waits[k] = backOff{delay: delay, until: time.Now().Add(delay), cause: cause.Error()}
}

// Forget drops the back-off of an image of a pod.
func (m *Manager) Forget(uid types.UID, image string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waits, key{uid, image})
}

// ForgetPod drops all back-offs of a pod that no longer exists.
func (m *Manager) ForgetPod(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.waits {
		if k.pod == uid {
			delete(m.waits, k)
		}
	}
}

// fetch pulls with each of the pod's credentials that fit, in their order, or anonymously when none does.
func (m *Manager) fetch(ctx context.Context, p *corev1.Pod, name string, sandbox *cri.SandboxConfig) (string, error) {
	ring := m.keyring(ctx, p)
	candidates := ring.Lookup(repository(name))
	if len(candidates) == 0 {
		return m.runtime.Pull(ctx, name, nil, sandbox)
	}
	var last error
	for _, credentials := range candidates {
		ref, err := m.runtime.Pull(ctx, name, credentials, sandbox)
		if err == nil {
			return ref, nil
		}
		last = err
	}
	return "", last
}

// withTag adds the default tag to a name that has neither tag nor digest.
func withTag(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", name, err)
	}
	if reference.IsNameOnly(named) {
		return name + ":latest", nil
	}
	return name, nil
}

// repository is the full name without tag and digest.
func repository(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.TrimNamed(named).String()
}
