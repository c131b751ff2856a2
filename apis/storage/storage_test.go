package storage

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

func TestStorageClass(t *testing.T) {
	recycle := corev1.PersistentVolumeReclaimRecycle
	zone := corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: []string{"b", "a"}}}}
	for name, c := range map[string]struct {
		class storagev1.StorageClass
		want  string
	}{
		"defaults":   {storagev1.StorageClass{Provisioner: "example.org/p"}, ""},
		"recycle":    {storagev1.StorageClass{Provisioner: "example.org/p", ReclaimPolicy: &recycle}, `supported values: "Delete", "Retain"`},
		"topology":   {storagev1.StorageClass{Provisioner: "example.org/p", AllowedTopologies: []corev1.TopologySelectorTerm{zone}}, ""},
		"same twice": {storagev1.StorageClass{Provisioner: "example.org/p", AllowedTopologies: []corev1.TopologySelectorTerm{zone, zone}}, "Duplicate value"},
		"says none":  {storagev1.StorageClass{Provisioner: "example.org/p", AllowedTopologies: []corev1.TopologySelectorTerm{{}}}, "Duplicate value"},
	} {
		defaultStorageClass(&c.class)
		got := validateStorageClass(context.Background(), &c.class, nil).ToAggregate()
		if (got == nil) != (c.want == "") || (got != nil && !strings.Contains(got.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, got, c.want)
		}
	}
}

func TestCSINodeDriverStaysWhatItIs(t *testing.T) {
	two, three := int32(2), int32(3)
	node := func(id string, count *int32) *storagev1.CSINode {
		return &storagev1.CSINode{Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "d.example.org", NodeID: id, Allocatable: &storagev1.VolumeNodeResources{Count: count}}}}}
	}
	if errs := validateCSINode(context.Background(), node("i", &three), node("i", &two)); len(errs) > 0 {
		t.Errorf("room for more volumes: %v", errs)
	}
	if errs := validateCSINode(context.Background(), node("j", &two), node("i", &two)); len(errs) != 1 {
		t.Errorf("another node: %v", errs)
	}
}
