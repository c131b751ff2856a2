package volumes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

const (
	// certificateSpread is the most by which a renewal is put off, so that pods' don't come together.
	certificateSpread = 5 * time.Minute
	// certificateOverdue is how long after its time a renewal is overdue, which users are told.
	certificateOverdue = 10 * time.Minute
	// certificatePatience is how long a pod's first certificate is waited for before its mount fails for now.
	certificatePatience = 2 * time.Second
	// A pending request is looked at after the first pause, then after twice as long, up to the last.
	certificateFirstLook = 50 * time.Millisecond
	certificateLastLook  = 30 * time.Second
)

var errNotIssued = errors.New("credential bundle is not issued yet")

// certificates are a pod's certificates (KEP-4317). They live as long as the process: their keys are nowhere else but in
// the pod's volume.
type certificates map[sourceKey]*certificate

// certificate is one source's certificate, on its way, issued, or both while it is renewed.
//
//	nothing ── asked ──► pending ── issued ──► good ── time to renew, asked ──► good and pending ── issued ──► good
//	   ▲                    │ ╰─ denied, failed ──► ended                          │
//	   ╰── request is gone ─╯                              request is gone: good ◄─╯
type certificate struct {
	key, chain     []byte    // PEM; nil until the first is issued
	renew, expires time.Time // of the chain

	request string // the pending PodCertificateRequest, empty for none
	fresh   []byte // its private key
	pause   time.Duration

	ended                error // why there will be none
	toldLate, toldExpiry bool
}

// told is an event about a certificate.
type told struct{ reason, message string }

// settle takes what became of the pending request; nil if it is gone. spread is added to the time to renew.
func (c *certificate) settle(request *certificatesv1.PodCertificateRequest, spread time.Duration) []told {
	if request == nil {
		c.request, c.fresh = "", nil
		return nil
	}
	name := request.Namespace + "/" + request.Name
	for _, condition := range request.Status.Conditions {
		switch condition.Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied:
			c.ended = fmt.Errorf("PodCertificateRequest was permanently denied: reason=%q message=%q", condition.Reason, condition.Message)
			return []told{{condition.Type, fmt.Sprintf("PodCertificateRequest %s was denied, reason=%q, message=%q", name, condition.Reason, condition.Message)}}
		case certificatesv1.PodCertificateRequestConditionTypeFailed:
			c.ended = fmt.Errorf("PodCertificateRequest was permanently failed: reason=%q message=%q", condition.Reason, condition.Message)
			return []told{{condition.Type, fmt.Sprintf("PodCertificateRequest %s failed, reason=%q, message=%q", name, condition.Reason, condition.Message)}}
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			if request.Status.BeginRefreshAt == nil || request.Status.NotAfter == nil {
				continue
			}
			*c = certificate{
				key: c.fresh, chain: onlyCertificates(request.Status.CertificateChain),
				renew: request.Status.BeginRefreshAt.Add(spread), expires: request.Status.NotAfter.Time,
			}
			return nil
		}
	}
	return nil
}

// asks says whether a request is to be made now.
func (c *certificate) asks(now time.Time) bool {
	return c.ended == nil && c.request == "" && (c.chain == nil || !now.Before(c.renew))
}

// late answers what users are to be told of a certificate that should have been renewed, each once.
func (c *certificate) late(now time.Time) []told {
	var out []told
	if c.chain == nil {
		return nil
	}
	if now.After(c.renew.Add(certificateOverdue)) && !c.toldLate {
		c.toldLate = true
		out = append(out, told{"CertificateOverdueForRefresh", "PodCertificate refresh overdue"})
	}
	if now.After(c.expires) && !c.toldExpiry {
		c.toldExpiry = true
		out = append(out, told{"CertificateExpired", "PodCertificate expired"})
	}
	return out
}

// next is when to look again: at a pending request after a pause that grows, else when it is time to renew.
func (c *certificate) next(now time.Time) time.Time {
	switch {
	case c.ended != nil:
		return time.Time{}
	case c.request == "" && c.chain != nil:
		return c.renew
	}
	c.pause = min(max(2*c.pause, certificateFirstLook), certificateLastLook)
	return now.Add(c.pause)
}

// addCertificate writes a source's key and certificates, asking for them first if there are none or it is time to renew.
func (p projections) addCertificate(ctx context.Context, v *volume, index int, to target) (time.Time, error) {
	source := v.spec.Projected.Sources[index].PodCertificate
	at := sourceKey{v.spec.Name, index}
	c := v.issued[at]
	if c == nil {
		c = &certificate{}
		v.issued[at] = c
	}
	renew, err := p.certificate(ctx, v.pod, source, c)
	switch {
	case c.ended != nil:
		return time.Time{}, c.ended
	case c.chain == nil && err != nil:
		return renew, err
	case c.chain == nil:
		return renew, errNotIssued
	case err != nil:
		klog.FromContext(ctx).Error(err, "Renewing a pod certificate failed, the current one stays in use", "pod", klog.KObj(v.pod), "expires", c.expires)
	}
	write := func(path string, data []byte) {
		if path == "" {
			return
		}
		f := to.modes.file(data, nil)
		if f.user = fsUserOf(v.pod); f.user != nil || fsGroupOf(v.pod) != nil {
			f.mode = tokenFileMode
		}
		to.files[path] = f
	}
	write(source.CredentialBundlePath, slices.Concat(c.key, c.chain))
	write(source.KeyPath, c.key)
	write(source.CertificateChainPath, c.chain)
	return renew, nil
}

// certificate moves a certificate on as far as it gets now, waiting a little for a pod's first, and answers when to go on.
func (p projections) certificate(ctx context.Context, pod *corev1.Pod, source *corev1.PodCertificateProjection, c *certificate) (time.Time, error) {
	for until := time.Now().Add(certificatePatience); ; {
		err := p.advance(ctx, pod, source, c)
		now := time.Now()
		p.tell(pod, c.late(now))
		again := c.next(now)
		if err != nil || c.chain != nil || c.ended != nil || again.After(until) {
			return again, err
		}
		timer := time.NewTimer(again.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return again, ctx.Err()
		case <-timer.C:
		}
	}
}

// advance looks at the pending request, or makes one if it is time.
func (p projections) advance(ctx context.Context, pod *corev1.Pod, source *corev1.PodCertificateProjection, c *certificate) error {
	if c.request != "" {
		request, err := admitted(ctx, func() (*certificatesv1.PodCertificateRequest, error) {
			return p.client.CertificatesV1().PodCertificateRequests(pod.Namespace).Get(ctx, c.request, metav1.GetOptions{})
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("while getting PodCertificateRequest %q: %w", pod.Namespace+"/"+c.request, err)
		}
		if err != nil {
			request = nil
		}
		p.tell(pod, c.settle(request, rand.N(certificateSpread)))
	}
	if !c.asks(time.Now()) {
		return nil
	}
	name, key, err := p.ask(ctx, pod, source)
	if err != nil {
		return fmt.Errorf("while creating PodCertificateRequest: %w", err)
	}
	c.request, c.fresh, c.pause = name, key, 0
	return nil
}

// ask creates a request for a new key and answers its name and the key.
func (p projections) ask(ctx context.Context, pod *corev1.Pod, source *corev1.PodCertificateProjection) (name string, key []byte, err error) {
	key, proof, err := newKey(source.KeyType)
	if err != nil {
		return "", nil, err
	}
	// The request names account and node by UID, so that it can't be taken for one of others of the same name.
	account, err := admitted(ctx, func() (*corev1.ServiceAccount, error) {
		return p.client.CoreV1().ServiceAccounts(pod.Namespace).Get(ctx, pod.Spec.ServiceAccountName, metav1.GetOptions{})
	})
	if err != nil {
		return "", nil, fmt.Errorf("while fetching service account: %w", err)
	}
	node, err := p.client.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{})
	if err != nil {
		return "", nil, fmt.Errorf("while getting node object: %w", err)
	}
	made, err := p.client.CertificatesV1().PodCertificateRequests(pod.Namespace).Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: source.SignerName, PodName: pod.Name, PodUID: pod.UID,
			ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(node.Name), NodeUID: node.UID,
			MaxExpirationSeconds: source.MaxExpirationSeconds, StubPKCS10Request: proof, UnverifiedUserAnnotations: source.UserAnnotations,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", nil, err
	}
	return made.Name, key, nil
}

func (p projections) tell(pod *corev1.Pod, events []told) {
	if p.events == nil {
		return
	}
	for _, e := range events {
		p.events.Event(pod, corev1.EventTypeWarning, e.reason, e.message)
	}
}
