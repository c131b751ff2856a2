// Package v1 holds the validation that the markers of k8s.io/api/apps/v1 declare.
//
// +k8s:validation-gen=TypesWithField=TypeMeta
// +k8s:validation-gen-input=k8s.io/api/apps/v1
package v1
