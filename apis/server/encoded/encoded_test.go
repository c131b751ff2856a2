package encoded

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
)

// serializers answers both encodings, by name, of the library and of the store.
func serializers(s *Items) map[string][2]runtime.Serializer {
	scheme := runtime.NewScheme()
	j := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{StreamingCollectionsEncoding: true})
	p := protobuf.NewSerializerWithOptions(scheme, scheme, protobuf.SerializerOptions{StreamingCollectionsEncoding: true})
	return map[string][2]runtime.Serializer{"json": {j, s.JSON(j)}, "protobuf": {p, s.Protobuf(p)}}
}

func encode(t *testing.T, s runtime.Encoder, obj runtime.Object) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Encode(obj, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pods(n int) *corev1.PodList {
	l := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, ListMeta: metav1.ListMeta{ResourceVersion: "9", Continue: "c"}}
	for i := range n {
		l.Items = append(l.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", i), UID: types.UID(fmt.Sprint(i)), ResourceVersion: "7", Annotations: map[string]string{"<a>": strings.Repeat("x", 300*i)}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i&j"}}},
		})
	}
	return l
}

func TestLooksLikeTheLibrary(t *testing.T) {
	t.Parallel()
	nameless := pods(3)
	nameless.Items[1].UID, nameless.Items[2].ResourceVersion = "", ""
	lists := map[string]runtime.Object{
		"pods": pods(50), "one": pods(1), "none": pods(0), "no identity": nameless, "nil": &corev1.PodList{},
		"empty": &corev1.PodList{Items: []corev1.Pod{}}, "no kind": &corev1.PodList{Items: pods(2).Items},
		"classes":    &storagev1.StorageClassList{Items: []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{UID: "0", ResourceVersion: "7"}}}},
		"an object":  &pods(1).Items[0],
		"a status":   &metav1.Status{Message: "no"},
		"a metadata": &metav1.PartialObjectMetadataList{Items: []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{UID: "0", ResourceVersion: "7"}}}},
		"unstructured": &unstructured.UnstructuredList{Object: map[string]any{"kind": "List"}, Items: []unstructured.Unstructured{
			{Object: map[string]any{"kind": "A", "apiVersion": "b/v1", "metadata": map[string]any{"uid": "0"}}},
		}},
	}
	for _, limit := range []int{0, 2000, 1 << 20} {
		s := New(limit)
		for form, both := range serializers(s) {
			for name, l := range lists {
				if form == "protobuf" && name == "unstructured" {
					continue
				}
				want := encode(t, both[0], l)
				for _, time := range []string{"first", "second"} {
					if got := encode(t, both[1], l); got != want {
						t.Errorf("%s as %s, the %s time, limit %d:\n got %q\nwant %q", name, form, time, limit, got, want)
					}
					var b bytes.Buffer
					if err := both[1].(runtime.EncoderWithAllocator).EncodeWithAllocator(l, &b, &runtime.Allocator{}); err != nil || b.String() != want {
						t.Errorf("%s as %s with an allocator: %v", name, form, err)
					}
				}
			}
		}
		if s.size > limit {
			t.Errorf("%d bytes are kept, the limit is %d", s.size, limit)
		}
	}
}

// A list is answered out of what was kept, or the first test would prove nothing.
func TestItemsAreKept(t *testing.T) {
	t.Parallel()
	s := New(1 << 20)
	for form, both := range serializers(s) {
		l := pods(3)
		first := encode(t, both[1], l)
		l.Items[1].Labels = map[string]string{"changed": "behind the store's back"}
		if encode(t, both[1], l) != first {
			t.Errorf("%s: an item was encoded twice", form)
		}
		l.Items[1].ResourceVersion = "8"
		if got := encode(t, both[1], l); !strings.Contains(got, "behind") {
			t.Errorf("%s: an old item was answered", form)
		}
	}
}

// The response writer compresses what begins with a short write.
func TestFirstWriteIsShort(t *testing.T) {
	t.Parallel()
	for form, both := range serializers(New(0)) {
		var w recorder
		if err := both[1].Encode(pods(100), &w); err != nil {
			t.Fatal(err)
		}
		if w[0] > 4 || len(w) > 2+(sum(w)/writeSize) {
			t.Errorf("%s is written in parts of %v", form, w)
		}
	}
}

type recorder []int

func (r *recorder) Write(p []byte) (int, error) {
	*r = append(*r, len(p))
	return len(p), nil
}

func sum(all []int) (n int) {
	for _, i := range all {
		n += i
	}
	return n
}

var errBroken = errors.New("broken")

// broken fails after so many bytes.
type broken int

func (b *broken) Write(p []byte) (int, error) {
	if *b -= broken(len(p)); *b < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	for form, both := range serializers(New(1 << 20)) {
		for _, after := range []broken{0, 4, 20, 40 << 10} {
			if err := both[1].Encode(pods(30), &after); !errors.Is(err, errBroken) {
				t.Errorf("%s: %v", form, err)
			}
		}
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(1 << 20)
		both := serializers(s)["json"]
		for range 5 { // needed all the time
			encode(t, both[1], pods(3))
			time.Sleep(forgetAfter)
			synctest.Wait()
		}
		if len(s.kept) != 3 {
			t.Errorf("%d items are kept that lists need, want 3", len(s.kept))
		}
		time.Sleep(2 * forgetAfter)
		synctest.Wait()
		if len(s.kept) != 0 || s.size != 0 || s.moving {
			t.Errorf("%d items of %d bytes are kept that no list needs, moving: %v", len(s.kept), s.size, s.moving)
		}
	})
}

func TestConcurrently(t *testing.T) {
	t.Parallel()
	s := New(10 << 10)
	all := serializers(s)
	want := map[string]string{}
	for form, both := range all {
		want[form] = encode(t, both[0], pods(20))
	}
	var join sync.WaitGroup
	for range 8 {
		join.Go(func() {
			for form, both := range all {
				if encode(t, both[1], pods(20)) != want[form] {
					t.Errorf("%s differs", form)
				}
			}
		})
	}
	join.Wait()
	s.sweep()
}

func BenchmarkList(b *testing.B) {
	for form, both := range serializers(New(1 << 24)) {
		for i, name := range []string{"library", "store"} {
			b.Run(form+"/"+name, func(b *testing.B) {
				l := pods(100)
				b.ReportAllocs()
				for b.Loop() {
					var w recorder
					if err := both[i].Encode(l, &w); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
