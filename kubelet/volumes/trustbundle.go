package volumes

import (
	"context"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// trustBundleAge is how old the content of a projected trust bundle may get. Bundles change rarely and few nodes use
// them, so they are read again now and then instead of being watched by every node.
const trustBundleAge = 10 * time.Second

// addTrustBundle writes the certificates of one bundle, or of all a signer's bundles that a selector matches.
func (p projections) addTrustBundle(ctx context.Context, source *corev1.ClusterTrustBundleProjection, to target) (time.Time, error) {
	bundles, err := p.trustBundles(ctx, source)
	if err != nil {
		return time.Time{}, err
	}
	again := time.Now().Add(trustBundleAge)
	if len(bundles) == 0 {
		if !isOptional(source.Optional) {
			return time.Time{}, missingBundle(source)
		}
		to.files[source.Path] = to.modes.file(nil, nil)
		return again, nil
	}
	f := to.modes.file(uniqueCertificates(bundles), nil)
	f.user = source.User
	to.files[source.Path] = f
	return again, nil
}

func missingBundle(source *corev1.ClusterTrustBundleProjection) error {
	if source.Name != nil {
		return fmt.Errorf("clustertrustbundle %q not found", *source.Name)
	}
	return fmt.Errorf("combination of signerName %q and labelSelector matched zero ClusterTrustBundles", *source.SignerName)
}

// trustBundles answers the selected bundles' PEM texts; none is no error.
func (p projections) trustBundles(ctx context.Context, source *corev1.ClusterTrustBundleProjection) ([]string, error) {
	client := p.client.CertificatesV1().ClusterTrustBundles()
	if source.Name != nil {
		found, err := client.Get(ctx, *source.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading trust bundle %s: %w", *source.Name, err)
		}
		return []string{found.Spec.TrustBundle}, nil
	}
	if source.SignerName == nil || source.LabelSelector == nil {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(source.LabelSelector)
	if err != nil {
		return nil, fmt.Errorf("selecting trust bundles: %w", err)
	}
	list, err := client.List(ctx, metav1.ListOptions{
		LabelSelector: selector.String(),
		FieldSelector: fields.OneTermEqualSelector("spec.signerName", *source.SignerName).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing trust bundles of %s: %w", *source.SignerName, err)
	}
	var texts []string
	for i := range list.Items {
		if list.Items[i].Spec.SignerName == *source.SignerName {
			texts = append(texts, list.Items[i].Spec.TrustBundle)
		}
	}
	return texts, nil
}

// uniqueCertificates joins PEM texts, each certificate once, in an order that does not depend on the input's.
func uniqueCertificates(texts []string) []byte {
	seen := map[string]bool{}
	for _, text := range texts {
		for rest := []byte(text); ; {
			var block *pem.Block
			block, rest = pem.Decode(rest)
			if block == nil {
				break
			}
			if block.Type == "CERTIFICATE" {
				seen[string(block.Bytes)] = true
			}
		}
	}
	ders := make([]string, 0, len(seen))
	for der := range seen {
		ders = append(ders, der)
	}
	slices.Sort(ders)
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)})...)
	}
	return out
}
