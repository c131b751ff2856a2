package certificates

import (
	"context"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"skiff/apis/resource"
)

type csr = *certificatesv1.CertificateSigningRequest

func certificateSigningRequests() resource.Definition[csr] {
	return resource.Definition[csr]{
		Resource:          group.WithResource("certificatesigningrequests"),
		Kind:              "CertificateSigningRequest",
		Singular:          "certificatesigningrequest",
		ShortNames:        []string{"csr"},
		ClusterScoped:     true,
		Object:            &certificatesv1.CertificateSigningRequest{},
		List:              &certificatesv1.CertificateSigningRequestList{},
		Register:          register,
		Name:              anyName,
		Prepare:           prepareCSR,
		Validate:          validateCSR,
		Spec:              func(r csr) any { return &r.Spec },
		NoGeneration:      true,
		ResetFields:       []string{"spec", "status"},
		Status:            func(r csr) any { return &r.Status },
		PrepareStatus:     prepareCSRStatus,
		ValidateStatus:    validateCSRStatus,
		StatusResetFields: []string{"spec", "status.conditions"},
		Fields:            func(r csr) fields.Set { return fields.Set{"spec.signerName": r.Spec.SignerName} },
		Columns:           csrColumns(),
		Subresources:      map[string]func(*registry.Store) rest.Storage{"approval": newApproval},
	}
}

func anyName(string, bool) []string { return nil }

// prepareCSR says who asks: the caller, whatever the request claims. A request
// never changes once it is made.
func prepareCSR(ctx context.Context, obj, old csr) {
	if old != nil {
		obj.Spec = old.Spec
		return
	}
	s := &obj.Spec
	s.Username, s.UID, s.Groups, s.Extra = "", "", nil, nil
	u, ok := genericrequest.UserFrom(ctx)
	if !ok {
		return
	}
	s.Username, s.UID, s.Groups = u.GetName(), u.GetUID(), u.GetGroups()
	for k, v := range u.GetExtra() {
		if s.Extra == nil {
			s.Extra = map[string]certificatesv1.ExtraValue{}
		}
		s.Extra[k] = v
	}
}

// prepareCSRStatus keeps what only an approver may decide.
func prepareCSRStatus(_ context.Context, obj, old csr) {
	keepConditions(obj, old, approved)
	keepConditions(obj, old, denied)
	stampConditions(obj.Status.Conditions, old.Status.Conditions)
}

// keepConditions puts the conditions of a kind back as they were; validation
// says so when there are more or fewer.
func keepConditions(obj, old csr, kind certificatesv1.RequestConditionType) {
	was := conditionsOf(old, kind)
	if len(conditionsOf(obj, kind)) != len(was) {
		return
	}
	for i := range obj.Status.Conditions {
		if c := &obj.Status.Conditions[i]; c.Type == kind {
			*c, was = was[0], was[1:]
		}
	}
}

// stampConditions dates conditions that say something new.
func stampConditions(conditions, old []certificatesv1.CertificateSigningRequestCondition) {
	now := metav1.Now()
	for i := range conditions {
		c := &conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range old {
			if was.Type == c.Type && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
			}
		}
	}
}

func csrColumns() []resource.Column[csr] {
	doc := certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc()
	return []resource.Column[csr]{
		resource.NameColumn[csr](),
		resource.AgeColumn[csr](),
		{Name: "SignerName", Type: "string", Help: doc["signerName"], Value: func(r csr) any {
			if r.Spec.SignerName == "" {
				return "<none>"
			}
			return r.Spec.SignerName
		}},
		{Name: "Requestor", Type: "string", Help: doc["request"], Value: func(r csr) any { return r.Spec.Username }},
		{Name: "RequestedDuration", Type: "string", Help: doc["expirationSeconds"], Value: func(r csr) any {
			if r.Spec.ExpirationSeconds == nil {
				return "<none>"
			}
			return duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
		}},
		{Name: "Condition", Type: "string", Help: certificatesv1beta1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"], Value: func(r csr) any { return stateOf(r) }},
	}
}

func stateOf(r csr) string {
	has := func(kind certificatesv1.RequestConditionType) bool {
		for _, c := range r.Status.Conditions {
			if c.Type == kind && (c.Status == corev1.ConditionTrue || c.Status == "") {
				return true
			}
		}
		return false
	}
	out := "Pending"
	switch {
	case has(certificatesv1.CertificateDenied):
		out = "Denied"
	case has(certificatesv1.CertificateApproved):
		out = "Approved"
	}
	if has(certificatesv1.CertificateFailed) {
		out += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		out += ",Issued"
	}
	return out
}
