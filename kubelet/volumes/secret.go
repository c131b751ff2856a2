package volumes

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff/kubelet/objects"
)

const (
	secretName       = "kubernetes.io~secret"
	missingSecretKey = "references non-existent secret key: %s"
)

// secrets is the kind whose files are the keys of a Secret. They are kept in memory.
func secrets(reader *objects.Reader) kind {
	return rendered{
		name:     secretName,
		claims:   func(spec *corev1.Volume) bool { return spec.Secret != nil },
		inMemory: true,
		files: func(ctx context.Context, v *volume) (files, time.Time, error) {
			source := v.spec.Secret
			m, err := modesOf(source.DefaultMode)
			if err != nil {
				return nil, time.Time{}, err
			}
			payload := files{}
			return payload, time.Time{}, addSecret(ctx, reader, payload, m, secretPart{
				namespace: v.pod.Namespace, name: source.SecretName, items: source.Items, optional: isOptional(source.Optional),
			})
		},
	}
}

// secretPart says which keys of which Secret go into a volume.
type secretPart struct {
	namespace, name string
	items           []corev1.KeyToPath
	optional        bool
}

func addSecret(ctx context.Context, reader *objects.Reader, payload files, m modes, part secretPart) error {
	found, err := reader.Secret(ctx, part.namespace, part.name)
	if apierrors.IsNotFound(err) && part.optional {
		return nil
	}
	if err != nil {
		return err
	}
	return keyed{
		values: found.Data, items: part.items, optional: part.optional, missing: missingSecretKey,
	}.addTo(payload, m)
}
