package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

const (
	maxBundle = 1 << 20
	omitted   = "<value omitted>"
)

func clusterTrustBundles() resource.Definition[*certificatesv1.ClusterTrustBundle] {
	type B = *certificatesv1.ClusterTrustBundle
	return resource.Definition[B]{
		Resource:      group.WithResource("clustertrustbundles"),
		Kind:          "ClusterTrustBundle",
		Singular:      "clustertrustbundle",
		ClusterScoped: true,
		Object:        &certificatesv1.ClusterTrustBundle{},
		List:          &certificatesv1.ClusterTrustBundleList{},
		Register:      register,
		Validate:      validateBundle,
		Fields:        func(b B) fields.Set { return fields.Set{"spec.signerName": b.Spec.SignerName} },
		Columns: []resource.Column[B]{
			{Name: "SignerName", Type: "string", Help: certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"], Value: func(b B) any {
				if b.Spec.SignerName == "" {
					return "<none>"
				}
				return b.Spec.SignerName
			}},
			resource.NoAge[B](),
		},
		NoUnconditionalUpdate: true,
	}
}

func validateBundle(_ context.Context, obj, old *certificatesv1.ClusterTrustBundle) (errs field.ErrorList) {
	meta := field.NewPath("metadata")
	if old != nil {
		errs = append(errs, validation.ValidateObjectMetaUpdate(&obj.ObjectMeta, &old.ObjectMeta, meta)...)
	}
	errs = append(errs, validation.ValidateObjectMeta(&obj.ObjectMeta, false, validate.BundleName(obj.Spec.SignerName), meta)...)
	at := field.NewPath("spec")
	if obj.Spec.SignerName != "" {
		errs = append(errs, validate.SignerName(obj.Spec.SignerName, at.Child("signerName"))...)
	}
	errs = append(errs, validateAnchors(obj.Spec.TrustBundle, at.Child("trustBundle"))...)
	if old != nil {
		errs = append(errs, validation.ValidateImmutableField(obj.Spec.SignerName, old.Spec.SignerName, at.Child("signerName"))...)
	}
	return errs
}

func validateAnchors(bundle string, at *field.Path) (errs field.ErrorList) {
	if len(bundle) > maxBundle {
		return field.ErrorList{field.TooLong(at, "", maxBundle)}
	}
	seen := map[string][]int{}
	rest := []byte(bundle)
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if msg := checkAnchor(block); msg != "" {
			errs = append(errs, field.Invalid(at, omitted, fmt.Sprintf(msg, i)))
			continue
		}
		seen[string(block.Bytes)] = append(seen[string(block.Bytes)], i)
	}
	if len(errs) > 0 {
		return errs
	}
	if len(seen) == 0 {
		errs = append(errs, field.Invalid(at, omitted, "at least one trust anchor must be provided"))
	}
	for _, key := range slices.Sorted(maps.Keys(seen)) {
		if len(seen[key]) > 1 {
			errs = append(errs, field.Invalid(at, omitted, fmt.Sprintf("duplicate trust anchor (indices %v)", seen[key])))
		}
	}
	return errs
}

// checkAnchor answers what is wrong, with a verb for the block's number.
func checkAnchor(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return "entry %d has bad block type: " + strings.ReplaceAll(block.Type, "%", "%%")
	}
	if len(block.Headers) > 0 {
		return "entry %d has PEM block headers"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "entry %d does not parse as X.509"
	case !certificate.IsCA:
		return "entry %d does not have the CA bit set"
	}
	return ""
}
