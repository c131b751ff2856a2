package volumes

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff/kubelet/objects"
)

const (
	configMapName       = "kubernetes.io~configmap"
	missingConfigMapKey = "configmap references non-existent config key: %s"
)

// configMaps is the kind whose files are the keys of a ConfigMap.
func configMaps(reader *objects.Reader) kind {
	return rendered{
		name:   configMapName,
		claims: func(spec *corev1.Volume) bool { return spec.ConfigMap != nil },
		files: func(ctx context.Context, v *volume) (files, time.Time, error) {
			source := v.spec.ConfigMap
			m, err := modesOf(source.DefaultMode)
			if err != nil {
				return nil, time.Time{}, err
			}
			payload := files{}
			return payload, time.Time{}, addConfigMap(ctx, reader, payload, m, configMapPart{
				namespace: v.pod.Namespace, name: source.Name, items: source.Items, optional: isOptional(source.Optional),
			})
		},
	}
}

// configMapPart says which keys of which ConfigMap go into a volume.
type configMapPart struct {
	namespace, name string
	items           []corev1.KeyToPath
	optional        bool
}

func addConfigMap(ctx context.Context, reader *objects.Reader, payload files, m modes, part configMapPart) error {
	found, err := reader.ConfigMap(ctx, part.namespace, part.name)
	if apierrors.IsNotFound(err) && part.optional {
		return nil
	}
	if err != nil {
		return err
	}
	return keyed{
		values: configMapValues(found), items: part.items, optional: part.optional, missing: missingConfigMapKey,
	}.addTo(payload, m)
}
