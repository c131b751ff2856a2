package nodecertificates

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Address: a})
	}
	return n
}

func request(signer, user string, groups ...string) *certificatesv1.CertificateSigningRequest {
	usage := certificatesv1.UsageServerAuth
	if signer == certificatesv1.KubeAPIServerClientSignerName {
		usage = certificatesv1.UsageClientAuth
	}
	return &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: signer, Username: user, Groups: groups, Usages: []certificatesv1.KeyUsage{usage, certificatesv1.UsageDigitalSignature},
	}}
}

func TestNodeOf(t *testing.T) {
	const serving, client = certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientSignerName
	for _, tt := range []struct {
		csr  *certificatesv1.CertificateSigningRequest
		want string
		ours bool
	}{
		{request(serving, "system:node:a", "system:nodes"), "a", true},
		{request(client, "system:node:a", "system:nodes", "system:authenticated"), "a", true},
		{request(serving, "system:node:a", "system:authenticated"), "a", false},
		{request(serving, "system:node:", "system:nodes"), "", false},
		{request(serving, "jane", "system:nodes"), "jane", false},
		{request(certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:a", "system:nodes"), "", false},
		{request("example.com/x", "system:node:a", "system:nodes"), "", false},
	} {
		if got, ours := NodeOf(tt.csr); got != tt.want || ours != tt.ours {
			t.Errorf("%+v: %q, %v", tt.csr.Spec, got, ours)
		}
	}
}

func TestPending(t *testing.T) {
	csr := request(certificatesv1.KubeletServingSignerName, "system:node:a", "system:nodes")
	if !Pending(csr) {
		t.Error("a new request is not pending")
	}
	for _, kind := range []certificatesv1.RequestConditionType{"Approved", "Denied", "Failed"} {
		csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: kind}}
		if Pending(csr) {
			t.Errorf("%s and pending", kind)
		}
	}
}

func TestRefusal(t *testing.T) {
	kubelet := pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}
	agent := pkix.Name{CommonName: "skiff:agent:a", Organization: []string{"skiff:agents"}}
	ip := func(texts ...string) (out []net.IP) {
		for _, s := range texts {
			out = append(out, net.ParseIP(s))
		}
		return out
	}
	reserved := Reserved{Names: []string{"kubernetes"}, Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("192.0.2.10")}}
	nodes := []*corev1.Node{node("a", "192.0.2.11", "a", "10.96.0.1", "192.0.2.12", "127.0.0.1", "kubernetes", "b", "Kubernetes", "*.default.svc", "kubernetes.", "2001:db8::2"),
		node("b", "192.0.2.12", "b", "2001:DB8:0::2"), node("server", "192.0.2.10")}
	const serving, client = certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientSignerName
	for name, tt := range map[string]struct {
		signer string
		x      x509.CertificateRequest
		want   string
	}{
		"serving":               {serving, x509.CertificateRequest{Subject: kubelet, IPAddresses: ip("192.0.2.11"), DNSNames: []string{"a"}}, ""},
		"another's subject":     {serving, x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:b", Organization: kubelet.Organization}, IPAddresses: ip("192.0.2.11")}, "its subject is"},
		"more groups":           {serving, x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes", "x"}}}, "its subject is"},
		"not its address":       {serving, x509.CertificateRequest{Subject: kubelet, IPAddresses: ip("192.0.2.11", "192.0.2.99")}, "the address 192.0.2.99 is not in the status of node a"},
		"the API's address":     {serving, x509.CertificateRequest{Subject: kubelet, IPAddresses: ip("10.96.0.1")}, "the address 10.96.0.1 is not node a's own"},
		"the loopback":          {serving, x509.CertificateRequest{Subject: kubelet, IPAddresses: ip("127.0.0.1")}, "the address 127.0.0.1 is not node a's own"},
		"another node's":        {serving, x509.CertificateRequest{Subject: kubelet, IPAddresses: ip("192.0.2.12")}, "node b has the address 192.0.2.12 too"},
		"another node's name":   {serving, x509.CertificateRequest{Subject: kubelet, DNSNames: []string{"b"}}, "the name b is not node a's own"},
		"the API's name":        {serving, x509.CertificateRequest{Subject: kubelet, DNSNames: []string{"kubernetes"}}, "the name kubernetes is not node a's own"},
		"the API's in capitals": {serving, x509.CertificateRequest{Subject: kubelet, DNSNames: []string{"Kubernetes"}}, "the name Kubernetes is not the name of one host"},
		"all of a domain":       {serving, x509.CertificateRequest{Subject: kubelet, DNSNames: []string{"*.default.svc"}}, "the name *.default.svc is not the name of one host"},
		"the API's with a dot":  {serving, x509.CertificateRequest{Subject: kubelet, DNSNames: []string{"kubernetes."}}, "the name kubernetes. is not the name of one host"},
		"an address as a name":  {serving, x509.CertificateRequest{Subject: kubelet, DNSNames: []string{"10.96.0.1"}}, "the address 10.96.0.1 is not node a's own"},
		"another's, long":       {serving, x509.CertificateRequest{Subject: kubelet, IPAddresses: ip("2001:db8::2")}, "node b has the address 2001:db8::2 too"},
		"a URI":                 {serving, x509.CertificateRequest{Subject: kubelet, URIs: []*url.URL{{Scheme: "spiffe"}}}, "it names more than hosts"},
		"agent":                 {client, x509.CertificateRequest{Subject: agent}, ""},
		"agent with a host":     {client, x509.CertificateRequest{Subject: agent, IPAddresses: ip("192.0.2.11")}, "a client's certificate names no host"},
		"agent as another":      {client, x509.CertificateRequest{Subject: pkix.Name{CommonName: "skiff:agent:b", Organization: agent.Organization}}, "its subject is"},
		"agent as an operator":  {client, x509.CertificateRequest{Subject: pkix.Name{CommonName: "skiff:agent:a", Organization: []string{"system:masters"}}}, "its subject is"},
	} {
		err := Refusal(request(tt.signer, "system:node:a", "system:nodes"), &tt.x, nodes[0], nodes, reserved)
		if (tt.want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	x := &x509.CertificateRequest{Subject: kubelet, IPAddresses: ip("192.0.2.11")}
	csr := request(serving, "system:node:a", "system:nodes")
	if err := Refusal(csr, x, nil, nodes[1:], reserved); err == nil || err.Error() != "there is no node a" {
		t.Errorf("without a node: %v", err)
	}
	csr.Spec.Usages = append(csr.Spec.Usages, certificatesv1.UsageClientAuth)
	if err := Refusal(csr, x, nodes[0], nodes, reserved); err == nil || !strings.HasPrefix(err.Error(), "its usage client auth") {
		t.Errorf("another usage: %v", err)
	}
	csr.Spec.Usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature}
	if err := Refusal(csr, x, nodes[0], nodes, reserved); err == nil || err.Error() != "it lacks the usage server auth" {
		t.Errorf("no usage: %v", err)
	}
}
