package authn

import (
	"github.com/go-jose/go-jose/v4/jwt"
)

// IssuerURL is who signs the tokens unless the configuration names others.
const IssuerURL = "https://kubernetes.default.svc.cluster.local"

// legacyIssuer signs tokens that live in Secrets and never expire.
const legacyIssuer = "kubernetes/serviceaccount"

// claims are the contents of a bound token (KEP-1205).
type claims struct {
	jwt.Claims

	Kubernetes private `json:"kubernetes.io,omitzero"`
}

type private struct {
	Namespace      string           `json:"namespace,omitempty"`
	Node           *ref             `json:"node,omitempty"`
	Pod            *ref             `json:"pod,omitempty"`
	Secret         *ref             `json:"secret,omitempty"`
	ServiceAccount ref              `json:"serviceaccount,omitzero"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

type ref struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// legacyClaims are the contents of a token in a Secret.
type legacyClaims struct {
	jwt.Claims

	Namespace  string `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	Secret     string `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	AccountUID string `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
	Account    string `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
}
