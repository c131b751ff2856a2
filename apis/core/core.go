// Package core defines the resources of the legacy ("") API group.
//
// One file describes one resource; a subresource with behaviour of its own has
// a file named plural_subresource.go.
package core

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"skiff/apis/resource"
)

// Deps is what the core resources need of the rest of the process.
type Deps struct {
	Kubelet Kubelet
	Tokens  Tokens
	// ServiceCIDRs are the ranges of the default ServiceCIDR, at most one of a
	// family; the first one's family is the default.
	ServiceCIDRs []netip.Prefix
	NodePorts    utilnet.PortRange // node ports are allocated from it
	// RepairEvery is how often what Services hold is compared with what is
	// allocated; 0 means three minutes.
	RepairEvery time.Duration
	// Informers show Services, ServiceCIDRs and IPAddresses.
	Informers informers.SharedInformerFactory
	// Client reaches the API with full rights.
	Client kubernetes.Interface
	// Health answers whether etcd and the controllers and scheduler of this
	// process are well, by component name, for componentstatuses.
	Health map[string]func(context.Context) error
}

// Kubelet finds and dials the kubelets of nodes.
type Kubelet interface {
	// ConnectionInfo says where the kubelet of a node serves and through which
	// transport, which carries the API server's credentials.
	ConnectionInfo(ctx context.Context, nodeName string) (KubeletAddress, error)
}

// KubeletAddress is where a kubelet serves.
type KubeletAddress struct {
	Scheme, Host, Port string
	Transport          http.RoundTripper
	Insecure           http.RoundTripper // believes any serving certificate
}

// Tokens issues service account tokens.
type Tokens interface {
	// Issue signs a token; it answers the token and when it ends.
	Issue(ctx context.Context, r TokenRequest) (token string, expires time.Time, err error)
	// Audiences are those of a token that names none: the API server's own.
	Audiences() []string
	// Limits answers how long a token may live, 0 for no limit, and whether those
	// that kubelets mount live longer than they say.
	Limits() (longest time.Duration, extend bool)
}

// TokenRequest is what a token shall say. At most one of Pod and Secret is set;
// Node may accompany Pod.
type TokenRequest struct {
	ServiceAccount *corev1.ServiceAccount
	Pod            *corev1.Pod
	Secret         *corev1.Secret
	Node           *corev1.Node
	Audiences      []string
	Lifetime       time.Duration
	// WarnAfter, if not zero, is when use of the token is to be counted as stale.
	WarnAfter time.Duration
}

// Resources lists what the group serves; adding one means adding a file and a line.
func Resources(deps Deps) []resource.Resource {
	return []resource.Resource{
		componentStatuses(deps),
		configMaps(),
		endpoints(),
		events(),
		limitRanges(),
		namespaces(),
		nodes(deps),
		persistentVolumeClaims(),
		persistentVolumes(),
		pods(deps),
		podTemplates(),
		replicationControllers(),
		resourceQuotas(),
		secrets(),
		serviceAccounts(deps),
		services(deps),
	}
}
