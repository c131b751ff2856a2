package bootstrap

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/config/manifests"
)

// Ingress makes the class of Ingresses that nodes serve, and the role of what
// serves them. Where another class is the default already it stays the only one.
func (b Bootstrap) Ingress(ctx context.Context) error {
	return b.addOn(ctx, b.ingressClass, manifests.IngressClusterRoles, manifests.IngressClusterRoleBindings)
}

func (b Bootstrap) ingressClass(ctx context.Context) error {
	there, err := b.Client.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("looking for ingress classes: %w", err)
	}
	taken := false
	for _, c := range there.Items {
		taken = taken || c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
	}
	return kind[networkingv1.IngressClass, *networkingv1.IngressClass, *networkingv1.IngressClassList]{
		client: b.Client.NetworkingV1().IngressClasses(),
		items:  func(l *networkingv1.IngressClassList) []networkingv1.IngressClass { return l.Items },
		want: func() ([]networkingv1.IngressClass, error) {
			classes, err := manifests.IngressClasses()
			for i := range classes {
				if taken {
					delete(classes[i].Annotations, networkingv1.AnnotationIsDefaultIngressClass)
				}
			}
			return classes, err
		},
	}.ensure(ctx)
}

// LoadBalancer makes the role of what gives Services the addresses of nodes.
func (b Bootstrap) LoadBalancer(ctx context.Context) error {
	return b.addOn(ctx, func(context.Context) error { return nil }, manifests.LoadBalancerClusterRoles, manifests.LoadBalancerClusterRoleBindings)
}
