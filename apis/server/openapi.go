package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
	metricsscheme "k8s.io/metrics/pkg/client/clientset/versioned/scheme"
)

const (
	openAPITitle = "Kubernetes"
	openAPIv2    = "/openapi/v2"
	openAPIv3    = "/openapi/v3"
	// documentLife is how long a document of a given hash may be cached.
	documentLife = 365 * 24 * time.Hour
)

// describe gives a server the schemas of the types it serves. The names come
// from a scheme without hub versions, or "__internal" would appear in them. The
// schemas are made at each use, of which there are few, and not kept.
func describe(cfg *genericserver.Config, definitions common.GetOpenAPIDefinitions) {
	namer := openapinamer.NewDefinitionNamer(clientscheme.Scheme, metricsscheme.Scheme, apiextensions.Scheme, aggregatorscheme.Scheme)
	cfg.OpenAPIConfig = genericserver.DefaultOpenAPIConfig(definitions, namer)
	cfg.OpenAPIConfig.Info.Title = openAPITitle
	cfg.OpenAPIConfig.GetOperationIDAndTagsFromRoute = operation
	none := func(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return nil }
	cfg.OpenAPIV3Config = genericserver.DefaultOpenAPIV3Config(none, namer)
	cfg.OpenAPIV3Config.GetDefinitions = definitions
	cfg.OpenAPIV3Config.Info.Title = openAPITitle
	cfg.OpenAPIV3Config.GetOperationIDAndTagsFromRoute = operation
	const name, how = "BearerToken", "Bearer Token authentication"
	token := &spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{Type: "apiKey", Name: "authorization", In: "header", Description: how}}
	cfg.OpenAPIConfig.SecurityDefinitions = &spec.SecurityDefinitions{name: token}
	cfg.OpenAPIV3Config.SecuritySchemes = spec3.SecuritySchemes{name: &spec3.SecurityScheme{
		SecuritySchemeProps: spec3.SecuritySchemeProps{Type: "apiKey", Name: "authorization", In: "header", Description: how},
	}}
}

// operation names what a route does. The builders would otherwise give their
// configuration a function for this that holds on to all that they have built.
func operation(r common.Route) (string, []string, error) {
	adapter, ok := r.(*restfuladapter.RouteAdapter)
	if !ok {
		return "", nil, fmt.Errorf("%T is no route of go-restful", r)
	}
	return openapinamer.GetOperationIDAndTags(adapter.Route)
}

// publishOpenAPI serves the documents of the built-in resources. Each is built
// when somebody first asks for it: building all takes a third of the start.
func (s *Server) publishOpenAPI(v2 *common.Config, v3 *common.OpenAPIV3Config) {
	paths, services := s.core.Handler.NonGoRestfulMux, s.core.Handler.GoRestfulContainer.RegisteredWebServices()
	whole := cached.Once(cached.Func(func() (*spec.Swagger, string, error) {
		document, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), v2)
		if err != nil {
			return nil, "", fmt.Errorf("building the OpenAPI document: %w", err)
		}
		document.Definitions = handler.PruneDefaults(document.Definitions)
		return document, documentHash(s.config.Version), nil
	}))
	handler.NewOpenAPIServiceLazy(whole).RegisterOpenAPIVersionedService(openAPIv2, paths)

	documents := groupDocuments{hash: documentHash(s.config.Version), byPath: map[string]func() http.Handler{}}
	for _, service := range services {
		documents.byPath[strings.TrimPrefix(service.RootPath(), "/")] = sync.OnceValue(func() http.Handler { return groupDocument(service, v3) })
	}
	paths.Handle(openAPIv3, http.HandlerFunc(documents.list))
	paths.HandlePrefix(openAPIv3+"/", documents)
}

// groupDocument builds the document of one group version.
func groupDocument(service *restful.WebService, v3 *common.OpenAPIV3Config) http.Handler {
	alone, out := restful.NewContainer(), mux.NewPathRecorderMux("openapi")
	alone.Add(service)
	routes.OpenAPI{V3Config: v3}.InstallV3(alone, out)
	return out
}

// documentHash names the documents of this program: they change only with it.
func documentHash(version string) string {
	h := sha256.New()
	fmt.Fprint(h, version)
	if path, err := os.Executable(); err == nil {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprint(h, info.Size(), info.ModTime().UnixNano())
		}
	}
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// groupDocuments serves the OpenAPI v3 documents, one for each group version.
type groupDocuments struct {
	hash   string
	byPath map[string]func() http.Handler
}

// list names the documents and where each is, without building any.
func (d groupDocuments) list(w http.ResponseWriter, _ *http.Request) {
	index := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for path := range d.byPath {
		index.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{
			ServerRelativeURL: openAPIv3 + "/" + path + "?hash=" + url.QueryEscape(d.hash),
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(index) // the client has gone
}

// ServeHTTP answers one document. A request that names the present hash may
// keep the answer for good.
func (d groupDocuments) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	build, ok := d.byPath[strings.TrimPrefix(r.URL.Path, openAPIv3+"/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("hash") == d.hash {
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().Add(documentLife).UTC().Format(http.TimeFormat))
	}
	plain := r.Clone(r.Context())
	plain.URL.RawQuery = "" // the builder's own hash is another one
	build().ServeHTTP(w, plain)
}
