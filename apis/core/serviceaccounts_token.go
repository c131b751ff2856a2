package core

import (
	"context"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/utils/ptr"
)

const (
	minTokenLifetime = 10 * time.Minute
	maxTokenLifetime = 1 << 32 * time.Second
	// a token asked for this long is the one kubelets mount: clients that fail
	// to reload it are warned about and still served for a year
	mountedTokenLifetime  = 60*time.Minute + 7*time.Second
	extendedTokenLifetime = 365 * 24 * time.Hour
)

// tokenEndpoint serves serviceaccounts/NAME/token.
type tokenEndpoint struct {
	accounts *registry.Store
	deps     Deps
}

var (
	_ rest.NamedCreater                   = tokenEndpoint{}
	_ rest.GroupVersionKindProvider       = tokenEndpoint{}
	_ rest.SubresourceObjectMetaPreserver = tokenEndpoint{}
)

func (e tokenEndpoint) New() runtime.Object { return &authenticationv1.TokenRequest{} }
func (e tokenEndpoint) Destroy()            {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps the uid that
// was sent: the account must have it.
func (e tokenEndpoint) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

func (e tokenEndpoint) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

func defaultTokenRequest(r *authenticationv1.TokenRequest) {
	if r.Spec.ExpirationSeconds == nil {
		r.Spec.ExpirationSeconds = ptr.To(int64(time.Hour / time.Second))
	}
}

func (e tokenEndpoint) Create(ctx context.Context, name string, obj runtime.Object, valid rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	req, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %T", obj))
	}
	namespace, _ := genericrequest.NamespaceFrom(ctx)
	meta := field.NewPath("metadata")
	if req.Name != "" && req.Name != name {
		return nil, tokenInvalid(name, field.Invalid(meta.Child("name"), req.Name, "must match the service account name if specified"))
	}
	if req.Namespace != "" && req.Namespace != namespace {
		return nil, tokenInvalid(name, field.Invalid(meta.Child("namespace"), req.Namespace, "must match the service account namespace if specified"))
	}
	sa, err := get[*corev1.ServiceAccount](ctx, e.accounts, name)
	if err != nil {
		return nil, err
	}
	if req.UID != "" && req.UID != sa.UID {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: authenticationv1.GroupName, Resource: "TokenRequest"}, name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", req.UID, sa.UID))
	}
	out := req.DeepCopy()
	out.Name, out.Namespace, out.UID = sa.Name, sa.Namespace, sa.UID
	out.Status = authenticationv1.TokenRequestStatus{}
	out.CreationTimestamp = metav1.Now()
	if len(out.Spec.Audiences) == 0 {
		out.Spec.Audiences = e.deps.Tokens.Audiences()
	}
	if errs := validateTokenRequest(out); len(errs) > 0 {
		return nil, tokenInvalid("", errs...)
	}
	if valid != nil {
		if err := valid(ctx, out); err != nil {
			return nil, err
		}
	}
	r := TokenRequest{ServiceAccount: sa, Audiences: out.Spec.Audiences, Lifetime: time.Duration(*out.Spec.ExpirationSeconds) * time.Second}
	if err := e.bind(ctx, &r, out.Spec.BoundObjectRef); err != nil {
		return nil, err
	}
	e.limit(ctx, out, &r)
	return e.issue(ctx, out, r)
}

// limit shortens what lives too long, and prolongs the tokens for this API that
// kubelets mount.
func (e tokenEndpoint) limit(ctx context.Context, out *authenticationv1.TokenRequest, r *TokenRequest) {
	longest, extend := e.deps.Tokens.Limits()
	if longest > 0 && r.Lifetime > longest {
		seconds := int64(longest / time.Second)
		warning.AddWarning(ctx, "", fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", *out.Spec.ExpirationSeconds, seconds))
		out.Spec.ExpirationSeconds, r.Lifetime = &seconds, longest
	}
	elsewhere := func(audience string) bool { return !slices.Contains(e.deps.Tokens.Audiences(), audience) }
	if extend && r.Lifetime == mountedTokenLifetime && r.Pod != nil && !slices.ContainsFunc(r.Audiences, elsewhere) {
		r.WarnAfter, r.Lifetime = r.Lifetime, extendedTokenLifetime
	}
}

func (e tokenEndpoint) issue(ctx context.Context, out *authenticationv1.TokenRequest, r TokenRequest) (runtime.Object, error) {
	token, expires, err := e.deps.Tokens.Issue(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("failed to generate token: %w", err)
	}
	if r.WarnAfter != 0 {
		// the client is told the time after which the token counts as stale
		expires = out.CreationTimestamp.Add(r.WarnAfter)
	}
	out.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.Time{Time: expires}}
	return out, nil
}

func tokenInvalid(name string, errs ...*field.Error) error {
	return apierrors.NewInvalid(authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind(), name, errs)
}

func validateTokenRequest(r *authenticationv1.TokenRequest) (errs field.ErrorList) {
	path := field.NewPath("spec", "expirationSeconds")
	seconds := *r.Spec.ExpirationSeconds
	if seconds < int64(minTokenLifetime/time.Second) {
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > int64(maxTokenLifetime/time.Second) {
		errs = append(errs, field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// bind finds the object that the token lives and dies with.
func (e tokenEndpoint) bind(ctx context.Context, r *TokenRequest, ref *authenticationv1.BoundObjectReference) error {
	if ref == nil {
		return nil
	}
	ns := r.ServiceAccount.Namespace
	var uid types.UID
	var err error
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch kind.GroupKind() { // whatever its version
	case schema.GroupKind{Kind: "Pod"}:
		if r.Pod, err = e.deps.Client.CoreV1().Pods(ns).Get(ctx, ref.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		if r.Pod.Spec.ServiceAccountName != r.ServiceAccount.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", r.ServiceAccount.Name))
		}
		uid = r.Pod.UID
		if node := r.Pod.Spec.NodeName; node != "" {
			r.Node, err = e.deps.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err): // its name alone is a detail worth having
				r.Node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
			case err != nil:
				return apierrors.NewInternalError(err)
			}
		}
	case schema.GroupKind{Kind: "Secret"}:
		if r.Secret, err = e.deps.Client.CoreV1().Secrets(ns).Get(ctx, ref.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		uid = r.Secret.UID
	case schema.GroupKind{Kind: "Node"}:
		if r.Node, err = e.deps.Client.CoreV1().Nodes().Get(ctx, ref.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		uid = r.Node.UID
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", kind))
	}
	if ref.UID != "" && ref.UID != uid {
		return apierrors.NewConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}
