package defaultclass

import (
	"testing"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOf(t *testing.T) {
	class := func(name string, age time.Duration, annotation string) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{
			Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)), Annotations: map[string]string{annotation: "true"},
		}}
	}
	plain, old, young, twin := class("a", 0, "x"), class("b", time.Hour, annotation), class("d", time.Minute, annotationBeta), class("c", time.Minute, annotation)
	for name, tc := range map[string]struct {
		classes []*storagev1.StorageClass
		want    *storagev1.StorageClass
	}{
		"no class":            {nil, nil},
		"none is the default": {[]*storagev1.StorageClass{plain}, nil},
		"the newest":          {[]*storagev1.StorageClass{plain, old, young}, young},
		"by name":             {[]*storagev1.StorageClass{young, twin, old}, twin},
	} {
		if got := Of(tc.classes); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
