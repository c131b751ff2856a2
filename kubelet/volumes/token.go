package volumes

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

const (
	// tokenMaxAge is the age at which a token is renewed at the latest.
	tokenMaxAge = 24 * time.Hour
	// tokenFileMode is the mode of a token that one user or group may read.
	tokenFileMode fs.FileMode = 0o600
	// tokenRetry is how soon a failed renewal is tried again while the old token is still good.
	tokenRetry = time.Minute
	// defaultTokenSeconds is the validity asked for when the projection names none.
	defaultTokenSeconds = 60 * 60
)

// tokenKey identifies a token of a pod: projections that ask for the same share it.
type tokenKey struct {
	audience string
	seconds  int64
}

// token is one issued service account token.
type token struct {
	value   string
	issued  time.Time
	expires time.Time
}

// tokenCache holds a pod's tokens, so that rendering a volume again does not ask for new ones.
type tokenCache map[tokenKey]token

// renewAt is when a token is replaced: after 80 % of its life or a day, whichever is first.
func (t token) renewAt() time.Time {
	life := t.expires.Sub(t.issued) * 8 / 10
	return t.issued.Add(min(life, tokenMaxAge))
}

// addToken writes a token bound to the pod and answers when it has to be renewed.
func (p projections) addToken(ctx context.Context, v *volume, source *corev1.ServiceAccountTokenProjection, to target) (time.Time, error) {
	key := tokenKey{audience: source.Audience, seconds: ptr.Deref(source.ExpirationSeconds, defaultTokenSeconds)}
	current, renew, err := p.token(ctx, v, key)
	if err != nil {
		return time.Time{}, err
	}
	f := to.modes.file([]byte(current.value), nil)
	f.user = fsUserOf(v.pod)
	if f.user != nil || fsGroupOf(v.pod) != nil {
		// With a group, its ownership adds that the group may read.
		f.mode = tokenFileMode
	}
	to.files[source.Path] = f
	return renew, nil
}

// token answers the cached token while it is fresh, else a new one. If none can be had the old one serves until it ends.
func (p projections) token(ctx context.Context, v *volume, key tokenKey) (token, time.Time, error) {
	now := time.Now()
	current, known := v.tokens[key]
	if known && now.Before(current.renewAt()) {
		return current, current.renewAt(), nil
	}
	fresh, err := p.requestToken(ctx, v.pod, key)
	if err == nil {
		v.tokens[key] = fresh
		return fresh, fresh.renewAt(), nil
	}
	if known && now.Before(current.expires) {
		klog.FromContext(ctx).Error(err, "Renewing a service account token failed, the current one stays in use",
			"pod", klog.KObj(v.pod), "expires", current.expires)
		return current, now.Add(tokenRetry), nil
	}
	return token{}, time.Time{}, err
}

func (p projections) requestToken(ctx context.Context, pod *corev1.Pod, key tokenKey) (token, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &key.seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if key.audience != "" {
		request.Spec.Audiences = []string{key.audience}
	}
	account := pod.Spec.ServiceAccountName
	issued := time.Now()
	answer, err := admitted(ctx, func() (*authenticationv1.TokenRequest, error) {
		return p.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	})
	if err != nil {
		return token{}, fmt.Errorf("failed to fetch token: %w", err)
	}
	return token{value: answer.Status.Token, issued: issued, expires: answer.Status.ExpirationTimestamp.Time}, nil
}
