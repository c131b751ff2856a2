package certificates

import (
	"context"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// attesters lets one user attest for one signer.
type attesters struct{}

func (attesters) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetUser().GetName() == "signer" && a.GetVerb() == "attest" && a.GetResource() == "signers" && a.GetName() == "example.com/us" {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func TestAttest(t *testing.T) {
	bundle := func(change ...func(*certificatesv1.ClusterTrustBundle)) *certificatesv1.ClusterTrustBundle {
		b := &certificatesv1.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: "example.com:us:one", UID: "1"},
			Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: "example.com/us", TrustBundle: "certificates"},
		}
		for _, f := range change {
			f(b)
		}
		return b
	}
	nobodys := bundle(func(b *certificatesv1.ClusterTrustBundle) { b.Spec.SignerName = "" })
	other := bundle(func(b *certificatesv1.ClusterTrustBundle) { b.Spec.TrustBundle = "others" })
	labelled := bundle(func(b *certificatesv1.ClusterTrustBundle) { b.Labels = map[string]string{"a": "b"} })
	orphaned := bundle(func(b *certificatesv1.ClusterTrustBundle) {
		b.Finalizers, b.ManagedFields = []string{"orphan"}, []metav1.ManagedFieldsEntry{{Manager: "collector"}}
	})
	for _, c := range []struct {
		name      string
		operation admission.Operation
		now, old  *certificatesv1.ClusterTrustBundle
		user      string
		allowed   bool
	}{
		{"the signer's", admission.Create, bundle(), nil, "signer", true},
		{"another's", admission.Create, bundle(), nil, "other", false},
		{"nobody's", admission.Create, nobodys, nil, "other", true},
		{"changed by the signer", admission.Update, other, bundle(), "signer", true},
		{"changed by another", admission.Update, other, bundle(), "other", false},
		{"labelled by another", admission.Update, labelled, bundle(), "other", false},
		{"written again by another", admission.Update, bundle(), bundle(), "other", true},
		{"orphaned by the collector", admission.Update, orphaned, bundle(), "other", true},
		{"deleted by another", admission.Delete, nil, bundle(), "other", true},
	} {
		var now, old runtime.Object
		if c.now != nil {
			now = c.now
		}
		if c.old != nil {
			old = c.old
		}
		plugin := Attest(attesters{})
		a := admission.NewAttributesRecord(now, old, certificatesv1.SchemeGroupVersion.WithKind("ClusterTrustBundle"), "", "example.com:us:one",
			certificatesv1.SchemeGroupVersion.WithResource("clustertrustbundles"), "", c.operation, nil, false, &user.DefaultInfo{Name: c.user})
		var err error
		if plugin.Handles(c.operation) {
			err = plugin.Validate(t.Context(), a, nil)
		}
		if (err == nil) != c.allowed {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
