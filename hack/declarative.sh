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
# Registration is explicit here: each group calls RegisterValidations. What did not
# change is found the fast way.
for f in apis/declarative/*/*/$file; do
	sed -i -e '/^func init() /,/^$/d' \
		-e 's/equality\.Semantic\.DeepEqual(obj, oldObj)/same.Meaning(obj, oldObj)/' \
		-e 's#^\tequality "k8s.io/apimachinery/pkg/api/equality"$#\tsame "skiff/apis/same"#' "$f"
	gofmt -w "$f"
done
