package etcd

import (
	"bytes"
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
)

// transformer is how the values of a resource are encrypted. Without encryption
// they are written in clear, and what only a key can read is refused.
func transformer(encryption value.ResourceTransformers, gr schema.GroupResource) value.Transformer {
	if encryption == nil {
		return explaining{identity.NewEncryptCheckTransformer()}
	}
	return explaining{encryption.TransformerForResource(gr)}
}

// explaining says which key is missing.
type explaining struct{ value.Transformer }

// TransformFromStorage implements value.Read.
func (e explaining) TransformFromStorage(ctx context.Context, data []byte, about value.Context) ([]byte, bool, error) {
	out, stale, err := e.Transformer.TransformFromStorage(ctx, data, about)
	if prefix := keyPrefix(data); err != nil && prefix != "" {
		err = fmt.Errorf("%w (%s is stored as %s)", err, about.AuthenticatedData(), prefix)
	}
	return out, stale, err
}

// keyPrefix is the clear beginning of an encrypted value, which names provider
// and key: k8s:enc:PROVIDER:VERSION:KEY:
func keyPrefix(data []byte) string {
	const start, parts, longest = "k8s:enc:", 5, 320
	if !bytes.HasPrefix(data, []byte(start)) {
		return ""
	}
	data = data[:min(len(data), longest)]
	end := 0
	for range parts {
		i := bytes.IndexByte(data[end:], ':')
		if i < 0 {
			return start
		}
		end += i + 1
	}
	return string(data[:end])
}
