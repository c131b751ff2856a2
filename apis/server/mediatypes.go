package server

import (
	"mime"
	"net/http"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericserver "k8s.io/apiserver/pkg/server"
)

// withoutProtobuf is the custom resource server, which decodes no protobuf: it
// has a form of options and metadata, none of custom resources. The library's
// own handler panics over such a body.
type withoutProtobuf struct {
	genericserver.DelegationTarget
	crds listers.CustomResourceDefinitionLister
}

// customDelegate stands behind the built-in resources.
func (s *Server) customDelegate() genericserver.DelegationTarget {
	return withoutProtobuf{s.custom.GenericAPIServer, s.custom.Informers.Apiextensions().V1().CustomResourceDefinitions().Lister()}
}

// UnprotectedHandler implements genericserver.DelegationTarget.
func (d withoutProtobuf) UnprotectedHandler() http.Handler {
	next := d.DelegationTarget.UnprotectedHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && sendsProtobuf(r) && d.writesCustom(info) {
			err := negotiation.NewUnsupportedMediaTypeError([]string{runtime.ContentTypeJSON, runtime.ContentTypeYAML})
			responsewriters.ErrorNegotiated(err, apiextensions.Codecs, schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}, w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func sendsProtobuf(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == runtime.ContentTypeProtobuf
}

// writesCustom reports whether the body of the request is a custom resource.
func (d withoutProtobuf) writesCustom(info *request.RequestInfo) bool {
	if !info.IsResourceRequest || (info.Verb != "create" && info.Verb != "update") {
		return false
	}
	_, err := d.crds.Get(info.Resource + "." + info.APIGroup)
	return err == nil
}
