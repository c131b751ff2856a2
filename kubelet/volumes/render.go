package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// rendered is a kind of volume whose files are made from API objects, the pod or tokens.
type rendered struct {
	name   string
	claims func(*corev1.Volume) bool
	// inMemory keeps the content off the disk.
	inMemory bool
	// files answers the volume's whole content and, if it ages, when to ask again.
	files func(context.Context, *volume) (files, time.Time, error)
}

func (r rendered) dir() string { return r.name }

func (r rendered) owns(spec *corev1.Volume) bool { return r.claims(spec) }

func (r rendered) setUp(ctx context.Context, v *volume) (string, time.Time, error) {
	payload, renew, err := r.files(ctx, v)
	if err != nil {
		return "", renew, err
	}
	if err := openDir(v.dir); err != nil {
		return "", time.Time{}, err
	}
	if r.inMemory {
		if err := mountOnce(v.dir, "tmpfs", "mode=0777"); err != nil {
			return "", time.Time{}, err
		}
	}
	group := fsGroupOf(v.pod)
	if group != nil {
		if err := own(v.dir, *group, groupWrites); err != nil {
			return "", time.Time{}, fmt.Errorf("giving the volume to group %d: %w", *group, err)
		}
	}
	if _, err := writeAtomically(v.dir, payload, group); err != nil {
		return "", time.Time{}, err
	}
	return v.dir, renew, nil
}

// errDefaultMode is what a volume without a default mode gets: the API server sets one, so there is none only in a
// static pod that was not defaulted.
var errDefaultMode = errors.New("no defaultMode used, not even the default value for it")

// modes gives items their mode and owner: their own, else the volume's.
type modes struct {
	mode fs.FileMode
	user *int64
}

func modesOf(defaultMode *int32) (modes, error) {
	if defaultMode == nil {
		return modes{}, errDefaultMode
	}
	return modes{mode: fs.FileMode(*defaultMode)}, nil
}

func (m modes) file(data []byte, mode *int32) file {
	f := file{data: data, mode: m.mode, user: m.user}
	if mode != nil {
		f.mode = fs.FileMode(*mode)
	}
	return f
}

// keyed selects the keys of a ConfigMap or Secret that become files.
type keyed struct {
	values   map[string][]byte
	items    []corev1.KeyToPath
	optional bool
	missing  string // text of the error for a key that is not there, with one %s
}

// addTo adds the selected keys to a payload: all of them under their own name, or the items under their path.
func (k keyed) addTo(payload files, m modes) error {
	if len(k.items) == 0 {
		for name, value := range k.values {
			payload[name] = m.file(value, nil)
		}
		return nil
	}
	for _, item := range k.items {
		value, ok := k.values[item.Key]
		if !ok {
			if k.optional {
				continue
			}
			return fmt.Errorf(k.missing, item.Key)
		}
		payload[item.Path] = m.file(value, item.Mode)
	}
	return nil
}

// configMapValues are all values of a ConfigMap, text and binary.
func configMapValues(cm *corev1.ConfigMap) map[string][]byte {
	values := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for key, value := range cm.Data {
		values[key] = []byte(value)
	}
	maps.Copy(values, cm.BinaryData)
	return values
}

func isOptional(flag *bool) bool { return ptr.Deref(flag, false) }
