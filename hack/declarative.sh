#!/bin/sh
# Generates apis/declarative: the validation that the markers of k8s.io/api declare.
set -eu
cd "$(dirname "$0")/.."
header=$(mktemp)
trap 'rm -f "$header"' EXIT
file=zz_generated.validations.go
# shellcheck disable=SC2046 # a list
go tool -modfile=tools.mod validation-gen --go-header-file "$header" --output-file $file \
	--readonly-pkg k8s.io/apimachinery/pkg/api/resource \
	--readonly-pkg k8s.io/apimachinery/pkg/runtime \
	--readonly-pkg k8s.io/apimachinery/pkg/runtime/schema \
	--readonly-pkg k8s.io/apimachinery/pkg/types \
	--readonly-pkg k8s.io/apimachinery/pkg/util/intstr \
	--readonly-pkg k8s.io/api/scheduling/v1alpha3 \
	--readonly-pkg time \
	$(for doc in apis/declarative/*/*/doc.go; do echo "./${doc%/doc.go}"; done)
# Registration is explicit here: each group calls RegisterValidations.
for f in apis/declarative/*/*/$file; do
	sed -i '/^func init() /,/^$/d' "$f"
done
