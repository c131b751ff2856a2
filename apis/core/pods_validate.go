package core

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff/apis/podspec"
)

func validatePod(_ context.Context, p, old *corev1.Pod) field.ErrorList {
	if old == nil {
		return podspec.ValidatePod(p)
	}
	return podspec.ValidatePodUpdate(p, old)
}

func validatePodStatus(_ context.Context, p, old *corev1.Pod) field.ErrorList {
	return podspec.ValidatePodStatus(p, old)
}
