package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
)

func warnStorageClass(_ context.Context, c, _ *storagev1.StorageClass) (out []string) {
	for i, topology := range c.AllowedTopologies {
		for j, e := range topology.MatchLabelExpressions {
			if text := podspec.DeprecatedLabel(e.Key); text != "" {
				at := field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key")
				out = append(out, fmt.Sprintf("%s: %s", at, text))
			}
		}
	}
	return out
}

func warnCapacity(_ context.Context, c, _ *storagev1.CSIStorageCapacity) (out []string) {
	if c.NodeTopology == nil {
		return nil
	}
	path := field.NewPath("nodeTopology")
	for i, e := range c.NodeTopology.MatchExpressions {
		if text := podspec.DeprecatedLabel(e.Key); text != "" {
			out = append(out, fmt.Sprintf("%s: %s is %s", path.Child("matchExpressions").Index(i).Child("key"), e.Key, text))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.NodeTopology.MatchLabels)) {
		if text := podspec.DeprecatedLabel(key); text != "" {
			out = append(out, fmt.Sprintf("%s: %s", path.Child("matchLabels").Child(key), text))
		}
	}
	return out
}

func warnDriver(_ context.Context, d, old *storagev1.CSIDriver) []string {
	if old != nil && equality.Semantic.DeepEqual(d.Spec.TokenRequests, old.Spec.TokenRequests) {
		return nil
	}
	if len(d.Spec.TokenRequests) > 0 && d.Spec.ServiceAccountTokenInSecrets == nil {
		return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
	}
	return nil
}
