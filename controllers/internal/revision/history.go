package revision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"skiff/controllers/internal/owner"
)

// HashLabel is where a revision keeps the hash of its data.
const HashLabel = "controller.kubernetes.io/hash"

// Patch answers the part of a workload that makes up a revision: its pod template, as a strategic merge patch that
// restores it.
func Patch(template any) ([]byte, error) {
	raw, err := json.Marshal(template)
	if err != nil {
		return nil, fmt.Errorf("encoding template: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("decoding template: %w", err)
	}
	fields["$patch"] = "replace"
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
	if err != nil {
		return nil, fmt.Errorf("encoding patch: %w", err)
	}
	return patch, nil
}

// Spec describes a revision to be made.
type Spec struct {
	Owner       metav1.Object
	Kind        schema.GroupVersionKind
	Labels      map[string]string
	Annotations map[string]string
	Data        []byte
	Number      int64
	// Hash names the revision; empty means the hash of the data and the collision count.
	Hash       string
	Collisions *int32
}

// New answers the revision that s describes.
func New(s Spec) *appsv1.ControllerRevision {
	hash := s.Hash
	if hash == "" {
		hash = dataHash(s.Data, s.Collisions)
	}
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[HashLabel] = hash
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Owner.GetName() + "-" + hash, Namespace: s.Owner.GetNamespace(), Labels: labels, Annotations: s.Annotations,
			OwnerReferences: []metav1.OwnerReference{owner.NewRef(s.Owner, s.Kind)},
		},
		Data: runtime.RawExtension{Raw: s.Data}, Revision: s.Number,
	}
}

func dataHash(data []byte, collisions *int32) string {
	h := fnv.New32()
	_, _ = h.Write(data)
	if collisions != nil {
		_, _ = h.Write([]byte(strconv.Itoa(int(*collisions))))
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// Sort orders revisions from the oldest to the newest.
func Sort(revisions []*appsv1.ControllerRevision) {
	slices.SortStableFunc(revisions, func(a, b *appsv1.ControllerRevision) int {
		switch {
		case a.Revision != b.Revision:
			return int(a.Revision - b.Revision)
		case !a.CreationTimestamp.Equal(&b.CreationTimestamp):
			return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// Next answers the number of a new revision; revisions are sorted.
func Next(revisions []*appsv1.ControllerRevision) int64 {
	if len(revisions) == 0 {
		return 1
	}
	return revisions[len(revisions)-1].Revision + 1
}

// WithData answers the revisions that hold the same data, whatever the order of its fields.
func WithData(revisions []*appsv1.ControllerRevision, data []byte) []*appsv1.ControllerRevision {
	want := canonical(data)
	var equal []*appsv1.ControllerRevision
	for _, r := range revisions {
		if bytes.Equal(canonical(r.Data.Raw), want) {
			equal = append(equal, r)
		}
	}
	return equal
}

func canonical(data []byte) []byte {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return data
	}
	out, err := json.Marshal(v)
	if err != nil {
		return data
	}
	return out
}

// Surplus answers the oldest revisions beyond limit that are not in use; revisions are sorted.
func Surplus(revisions []*appsv1.ControllerRevision, limit int32, used func(*appsv1.ControllerRevision) bool) []*appsv1.ControllerRevision {
	var idle []*appsv1.ControllerRevision
	for _, r := range revisions {
		if !used(r) {
			idle = append(idle, r)
		}
	}
	if len(idle) <= int(limit) {
		return nil
	}
	return idle[:len(idle)-int(limit)]
}
