package core

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/resource"
	"skiff/apis/validate"
)

func secrets() resource.Resource {
	return resource.Definition[*corev1.Secret]{
		Resource: corev1.SchemeGroupVersion.WithResource("secrets"),
		Kind:     "Secret",
		Singular: "secret",
		Object:   &corev1.Secret{},
		List:     &corev1.SecretList{},
		Name:     apivalidation.NameIsDNSSubdomain,
		Default:  defaultSecret,
		Validate: validateSecret,
		Warn:     warnSecret,
		Fields:   func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
		Columns: []resource.Column[*corev1.Secret]{
			{Name: "Type", Type: "string", Help: corev1.Secret{}.SwaggerDoc()["type"], Value: func(s *corev1.Secret) any { return string(s.Type) }},
			{Name: "Data", Type: "string", Help: corev1.Secret{}.SwaggerDoc()["data"], Value: func(s *corev1.Secret) any { return int64(len(s.Data)) }},
		},
	}
}

// defaultSecret also folds stringData, which is write-only, into data.
func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

func validateSecret(_ context.Context, obj, old *corev1.Secret) (errs field.ErrorList) {
	if old != nil {
		errs = append(errs, validate.Unchanged(obj.Type, old.Type, field.NewPath("type"))...)
		errs = append(errs, frozen(obj.Immutable, old.Immutable)...)
		if isTrue(old.Immutable) {
			errs = append(errs, frozenData("data", obj.Data, old.Data)...)
		}
	}
	data := field.NewPath("data")
	size := 0
	for _, k := range slices.Sorted(maps.Keys(obj.Data)) {
		errs = append(errs, validate.All(data.Key(k), k, validation.IsConfigMapKey(k))...)
		size += len(obj.Data[k])
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	return append(errs, validateSecretType(obj, data)...)
}

// validateSecretType checks what the well-known types promise to hold.
func validateSecretType(obj *corev1.Secret, data *field.Path) (errs field.ErrorList) {
	need := func(keys ...string) {
		for _, k := range keys {
			if _, ok := obj.Data[k]; !ok {
				errs = append(errs, field.Required(data.Key(k), ""))
			}
		}
	}
	switch obj.Type {
	case corev1.SecretTypeServiceAccountToken:
		if obj.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, validateJSONKey(obj, data, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, validateJSONKey(obj, data, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		_, user := obj.Data[corev1.BasicAuthUsernameKey]
		_, password := obj.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(obj.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return errs
}

func validateJSONKey(obj *corev1.Secret, data *field.Path, key string) field.ErrorList {
	value, ok := obj.Data[key]
	if !ok {
		return field.ErrorList{field.Required(data.Key(key), "")}
	}
	if err := json.Unmarshal(value, &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(data.Key(key), "<secret contents redacted>", err.Error())}
	}
	return nil
}
