package clustertrustbundlepublisher

import (
	"crypto/sha256"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bundle is what the controller works on.
type Bundle = certificatesv1.ClusterTrustBundle

// Signer is the name of what signs the certificate that the API server serves with.
const Signer = "kubernetes.io/kube-apiserver-serving"

// Steps make the signer's bundles what they should be: one, with the present certificates. Each may be nil.
type Steps struct {
	Create, Update *Bundle
	Delete         []string
}

// Name is that of the signer's bundle with these PEM certificates: who has read a bundle under one name never finds
// other certificates there.
func Name(certificates string) string {
	sum := sha256.Sum256([]byte(certificates))
	return fmt.Sprintf("%s:%x", strings.ReplaceAll(Signer, "/", ":"), sum[:12])
}

// Plan answers the steps, given all bundles that there are. Bundles of other signers are not ours.
func Plan(all []*Bundle, certificates string) Steps {
	steps := Steps{Create: &Bundle{
		ObjectMeta: metav1.ObjectMeta{Name: Name(certificates)},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: Signer, TrustBundle: certificates},
	}}
	wanted := steps.Create.Name
	for _, b := range all {
		switch {
		case b.Spec.SignerName != Signer:
		case b.Name != wanted:
			steps.Delete = append(steps.Delete, b.Name)
		case b.Spec.TrustBundle != certificates:
			steps.Create, steps.Update = nil, b.DeepCopy()
			steps.Update.Spec.TrustBundle = certificates
		default:
			steps.Create = nil
		}
	}
	return steps
}
