package core

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

func serviceAccounts(deps Deps) resource.Resource {
	return resource.Definition[*corev1.ServiceAccount]{
		Resource:      corev1.SchemeGroupVersion.WithResource("serviceaccounts"),
		Kind:          "ServiceAccount",
		ReturnDeleted: true,
		Singular:      "serviceaccount",
		ShortNames:    []string{"sa"},
		Object:        &corev1.ServiceAccount{},
		List:          &corev1.ServiceAccountList{},
		Types:         map[schema.GroupVersion][]runtime.Object{authenticationv1.SchemeGroupVersion: {&authenticationv1.TokenRequest{}}},
		Register: func(s *runtime.Scheme) error {
			s.AddTypeDefaultingFunc(&authenticationv1.TokenRequest{}, func(o any) { defaultTokenRequest(o.(*authenticationv1.TokenRequest)) })
			return nil
		},
		Name:    apivalidation.NameIsDNSSubdomain,
		Prepare: prepareServiceAccount,
		Columns: []resource.Column[*corev1.ServiceAccount]{resource.NameColumn[*corev1.ServiceAccount]()},
		Subresources: map[string]func(*registry.Store) rest.Storage{
			"token": func(s *registry.Store) rest.Storage { return tokenEndpoint{accounts: s, deps: deps} },
		},
	}
}

// prepareServiceAccount keeps nothing but the names of the secrets.
func prepareServiceAccount(_ context.Context, obj, _ *corev1.ServiceAccount) {
	for i := range obj.Secrets {
		obj.Secrets[i] = corev1.ObjectReference{Name: obj.Secrets[i].Name}
	}
}
