package persistentvolume

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"skiff/controllers/internal/controller"
)

// latest reads objects as the cache has them, or as this controller last wrote them if the cache is not that far yet:
// matching looks at all volumes, so that two claims would else be given the same one. It is used by one worker.
type latest[T metav1.Object] struct {
	written map[controller.Key]T
}

// wrote notes an object as the server answered it.
func (l *latest[T]) wrote(object T) {
	if l.written == nil {
		l.written = map[controller.Key]T{}
	}
	l.written[controller.KeyOf(object)] = object
}

// of answers the newer one of a cached object and what was written. What the cache no longer has is gone: what was
// written had been read from it.
func (l *latest[T]) of(key controller.Key, cached T, err error) (T, bool, error) {
	var none T
	if apierrors.IsNotFound(err) {
		delete(l.written, key)
		return none, false, nil
	}
	if err != nil {
		return none, false, fmt.Errorf("reading %s: %w", key, err)
	}
	own, ok := l.written[key]
	if !ok {
		return cached, true, nil
	}
	newer, err := resourceversion.CompareResourceVersion(own.GetResourceVersion(), cached.GetResourceVersion())
	if err == nil && newer > 0 && own.GetUID() == cached.GetUID() {
		return own, true, nil
	}
	delete(l.written, key)
	return cached, true, nil
}
