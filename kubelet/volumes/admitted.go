package volumes

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The API lets a node touch what its pods use, and learns which pods those are over a watch of its own. A node that
// hears of a pod first is refused for a moment; it asks again after these pauses before it takes no for an answer.
const (
	firstAsk = 2 * time.Millisecond
	lastAsk  = time.Second
)

// admitted makes a request, again for as long as the API may not know yet that the node is allowed to make it.
func admitted[T any](ctx context.Context, request func() (T, error)) (T, error) {
	for wait := firstAsk; ; wait *= 2 {
		answer, err := request()
		if !apierrors.IsForbidden(err) || wait > lastAsk {
			return answer, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return answer, err
		case <-timer.C:
		}
	}
}
