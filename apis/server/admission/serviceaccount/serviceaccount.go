// Package serviceaccount gives every pod its service account: the default one
// when the pod names none, its image pull secrets, and the projected volume
// with a token, the cluster's authority and the namespace.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"

	"skiff/apis/server/authz/node"
)

const (
	// Name is the plugin's name in upstream's configuration.
	Name = "ServiceAccount"

	defaultName = "default"
	// enforceMountable restricts pods to the secrets their account names.
	enforceMountable = "kubernetes.io/enforce-mountable-secrets"
	// A namespace's default account is made by a controller, shortly after the
	// namespace; a pod created in between waits for it.
	defaultAttempts = 10
	defaultWait     = 100 * time.Millisecond
)

// Plugin is the admission plugin.
type Plugin struct {
	*admission.Handler
	accounts listers.ServiceAccountLister
	client   kubernetes.Interface
	name     func(base string) string
}

var (
	_ admission.MutationInterface   = (*Plugin)(nil)
	_ admission.ValidationInterface = (*Plugin)(nil)
)

// New registers the service account informer; name generates volume names.
func New(i informers.SharedInformerFactory, client kubernetes.Interface, name func(base string) string) *Plugin {
	accounts := i.Core().V1().ServiceAccounts()
	p := &Plugin{
		Handler:  admission.NewHandler(admission.Create, admission.Update),
		accounts: accounts.Lister(), client: client, name: name,
	}
	p.SetReadyFunc(accounts.Informer().HasSynced)
	return p
}

// Admit implements admission.MutationInterface.
func (p *Plugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a, admission.Create, "")
	if !ok {
		return nil
	}
	if isMirror(pod) {
		return mirror(a, pod) // before it is validated
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultName
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := p.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if automounts(pod, account) {
		p.mount(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (p *Plugin) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if pod, ok := podOf(a, admission.Update, "ephemeralcontainers"); ok {
		return p.limitEphemeral(ctx, a, pod)
	}
	pod, ok := podOf(a, admission.Create, "")
	if !ok {
		return nil
	}
	if isMirror(pod) {
		return mirror(a, pod)
	}
	account, err := p.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if !enforces(account) {
		return nil
	}
	if err := limitReferences(account, pod); err != nil {
		return admission.NewForbidden(a, err)
	}
	return nil
}

// podOf answers the pod of a create or update of one endpoint.
func podOf(a admission.Attributes, op admission.Operation, subresource string) (*corev1.Pod, bool) {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetOperation() != op || a.GetSubresource() != subresource {
		return nil, false
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	return pod, ok
}

func isMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// mirror refuses credentials to pods that a kubelet made by itself.
func mirror(a admission.Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference service accounts"))
	}
	if secrets, _ := node.References(pod); secrets {
		return admission.NewForbidden(a, errors.New("a mirror pod may not reference secrets"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return admission.NewForbidden(a, errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

// account looks in the cache, then asks the server, for the default account
// several times.
func (p *Plugin) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	account, err := p.accounts.ServiceAccounts(namespace).Get(name)
	if !apierrors.IsNotFound(err) {
		return account, err
	}
	attempts := 1
	if name == defaultName {
		attempts = defaultAttempts
	}
	for i := range attempts {
		if i > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(defaultWait):
			}
		}
		if account, err = p.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return account, err
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
}

func automounts(pod *corev1.Pod, account *corev1.ServiceAccount) bool {
	if b := pod.Spec.AutomountServiceAccountToken; b != nil {
		return *b
	}
	if b := account.AutomountServiceAccountToken; b != nil {
		return *b
	}
	return true
}

func enforces(account *corev1.ServiceAccount) bool {
	on, err := strconv.ParseBool(account.Annotations[enforceMountable])
	return err == nil && on
}
