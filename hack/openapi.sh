#!/bin/sh
# Generates apis/openapi from the Go types of every API group that is served.
set -eu
cd "$(dirname "$0")/.."
gen=$(mktemp -d)
trap 'rm -rf "$gen"' EXIT
: >"$gen/header"
go tool -modfile=tools.mod openapi-gen \
	--go-header-file "$gen/header" \
	--output-dir apis/openapi --output-pkg skiff/apis/openapi --output-file zz_generated.openapi.go \
	--report-filename "$gen/violations" \
	k8s.io/apimachinery/pkg/api/resource \
	k8s.io/apimachinery/pkg/apis/meta/v1 \
	k8s.io/apimachinery/pkg/runtime \
	k8s.io/apimachinery/pkg/util/intstr \
	k8s.io/apimachinery/pkg/version \
	k8s.io/api/admissionregistration/v1 \
	k8s.io/api/apps/v1 \
	k8s.io/api/authentication/v1 \
	k8s.io/api/authorization/v1 \
	k8s.io/api/autoscaling/v1 \
	k8s.io/api/autoscaling/v2 \
	k8s.io/api/batch/v1 \
	k8s.io/api/certificates/v1 \
	k8s.io/api/coordination/v1 \
	k8s.io/api/core/v1 \
	k8s.io/api/discovery/v1 \
	k8s.io/api/events/v1 \
	k8s.io/api/flowcontrol/v1 \
	k8s.io/api/networking/v1 \
	k8s.io/api/node/v1 \
	k8s.io/api/policy/v1 \
	k8s.io/api/rbac/v1 \
	k8s.io/api/resource/v1 \
	k8s.io/api/scheduling/v1 \
	k8s.io/api/scheduling/v1alpha3 \
	k8s.io/api/storage/v1 \
	k8s.io/api/storagemigration/v1 \
	k8s.io/metrics/pkg/apis/metrics/v1beta1
