package nodecertificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// nodeUser and nodeGroup are a kubelet's identity.
	nodeUser, nodeGroup = "system:node:", "system:nodes"
	// agentUser and agentGroup are the identity of what a joined node runs besides its kubelet.
	agentUser, agentGroup = "skiff:agent:", "skiff:agents"
)

// Reserved are names and addresses that no node gets a certificate for: the API server's own. Whoever had one could
// pose as the API server, since the same authority signs for both.
type Reserved struct {
	Names     []string
	Addresses []netip.Addr
}

// NodeOf answers the node whose request it is to judge here: one for a signer of its own, made by the node itself.
func NodeOf(csr *certificatesv1.CertificateSigningRequest) (string, bool) {
	switch csr.Spec.SignerName {
	case certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientSignerName:
	default:
		return "", false
	}
	name, ok := strings.CutPrefix(csr.Spec.Username, nodeUser)
	return name, ok && name != "" && slices.Contains(csr.Spec.Groups, nodeGroup)
}

// Pending reports whether nobody has decided about the request.
func Pending(csr *certificatesv1.CertificateSigningRequest) bool {
	return csr.DeletionTimestamp == nil && len(csr.Status.Certificate) == 0 && !slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed
	})
}

// Refusal answers why a request of the node is not approved, or nil when it is: a client certificate for the node's
// other parts, or a serving certificate for names and addresses that the node's status has, that no other node has, and
// that are not reserved. node is nil when there is none.
func Refusal(csr *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest, node *corev1.Node, nodes []*corev1.Node, reserved Reserved) error {
	name, _ := NodeOf(csr)
	if len(request.EmailAddresses)+len(request.URIs) > 0 {
		return errors.New("it names more than hosts")
	}
	if csr.Spec.SignerName == certificatesv1.KubeAPIServerClientSignerName {
		return client(csr, request, name) // a node asks for it before it registers
	}
	if node == nil {
		return fmt.Errorf("there is no node %s", name)
	}
	if err := subject(request, nodeUser+name, nodeGroup); err != nil {
		return err
	}
	if err := usages(csr, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	return hosts(request, node, nodes, reserved)
}

func client(csr *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest, name string) error {
	if err := subject(request, agentUser+name, agentGroup); err != nil {
		return err
	}
	if len(request.DNSNames)+len(request.IPAddresses) > 0 {
		return errors.New("a client's certificate names no host")
	}
	return usages(csr, certificatesv1.UsageClientAuth)
}

func subject(request *x509.CertificateRequest, user, group string) error {
	if request.Subject.CommonName != user || !slices.Equal(request.Subject.Organization, []string{group}) {
		return fmt.Errorf("its subject is %q, not user %s of group %s", request.Subject, user, group)
	}
	return nil
}

func usages(csr *certificatesv1.CertificateSigningRequest, purpose certificatesv1.KeyUsage) error {
	for _, u := range csr.Spec.Usages {
		if u != purpose && u != certificatesv1.UsageDigitalSignature && u != certificatesv1.UsageKeyEncipherment {
			return fmt.Errorf("its usage %s is not for %s", u, purpose)
		}
	}
	if !slices.Contains(csr.Spec.Usages, purpose) {
		return fmt.Errorf("it lacks the usage %s", purpose)
	}
	return nil
}

func hosts(request *x509.CertificateRequest, node *corev1.Node, nodes []*corev1.Node, reserved Reserved) error {
	for _, name := range request.DNSNames {
		if err := dnsName(name, node, nodes, reserved); err != nil {
			return err
		}
	}
	for _, ip := range request.IPAddresses {
		addr, _ := netip.AddrFromSlice(ip)
		if err := address(addr.Unmap(), node, nodes, reserved); err != nil {
			return err
		}
	}
	return nil
}

// dnsName judges one name. Clients take a pattern for every name below it, and capitals for small letters (RFC 6125,
// section 6.4), while a node's status may hold any text: only the plain form of one host's name can be compared.
func dnsName(name string, node *corev1.Node, nodes []*corev1.Node, reserved Reserved) error {
	if addr, err := netip.ParseAddr(name); err == nil { // some nodes are named by their address
		return address(addr.Unmap(), node, nodes, reserved)
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Errorf("the name %s is not the name of one host", name)
	}
	same := func(r string) bool { return strings.EqualFold(r, name) }
	if !addresses(node)[name] || slices.ContainsFunc(reserved.Names, same) || holder(name, node, nodes) != "" {
		return fmt.Errorf("the name %s is not node %s's own", name, node.Name)
	}
	return nil
}

func address(addr netip.Addr, node *corev1.Node, nodes []*corev1.Node, reserved Reserved) error {
	switch {
	case !addr.IsValid() || !addresses(node)[addr.String()]:
		return fmt.Errorf("the address %s is not in the status of node %s", addr, node.Name)
	case !addr.IsGlobalUnicast() || slices.Contains(reserved.Addresses, addr):
		return fmt.Errorf("the address %s is not node %s's own", addr, node.Name)
	case holder(addr.String(), node, nodes) != "":
		return fmt.Errorf("node %s has the address %s too", holder(addr.String(), node, nodes), addr)
	}
	return nil
}

// holder is another node that has the name or address.
func holder(host string, node *corev1.Node, nodes []*corev1.Node) string {
	for _, other := range nodes {
		if other.Name != node.Name && addresses(other)[host] {
			return other.Name
		}
	}
	return ""
}

// addresses are the names and addresses of a node's status, each in the one form that it is compared in.
func addresses(node *corev1.Node) map[string]bool {
	out := map[string]bool{}
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			out[addr.Unmap().String()] = true
			continue
		}
		out[strings.ToLower(a.Address)] = true
	}
	return out
}
