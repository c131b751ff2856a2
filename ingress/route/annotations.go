package route

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// The annotations of an Ingress that are read.
const (
	// AnnotationPrefix is what they begin with.
	AnnotationPrefix = "ingress.skiff.dev/"
	// AnnotationRedirect set to "true" redirects http to https where the Ingress has a certificate for the host.
	AnnotationRedirect = AnnotationPrefix + "ssl-redirect"
	// AnnotationBodyLimit is how long request bodies may be, a quantity of bytes such as 8Mi; 0 is without limit.
	AnnotationBodyLimit = AnnotationPrefix + "body-limit"
	// AnnotationResponseTimeout is how long a backend may take to begin its answer, such as 90s.
	AnnotationResponseTimeout = AnnotationPrefix + "response-timeout"
	// AnnotationProtocol is how backends are spoken to: http, https or h2c, instead of what the Service's appProtocol says.
	AnnotationProtocol = AnnotationPrefix + "backend-protocol"
)

// settings is what annotations say.
type settings struct {
	Options

	protocol Protocol // "" if it is left to the Service
}

// readAnnotations also answers a sentence for each annotation that can't be used, which is then as if it weren't there.
func readAnnotations(annotations map[string]string) (s settings, problems []string) {
	s.BodyLimit = -1
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		value := annotations[key]
		if !strings.HasPrefix(key, AnnotationPrefix) {
			continue
		}
		var remedy string
		switch key {
		case AnnotationRedirect:
			yes, err := strconv.ParseBool(value)
			if s.Redirect = yes; err != nil {
				remedy = `give "true" or "false"`
			}
		case AnnotationBodyLimit:
			q, err := resource.ParseQuantity(value)
			if s.BodyLimit = q.Value(); err != nil || s.BodyLimit < 0 {
				s.BodyLimit, remedy = -1, "give a number of bytes such as 8Mi, or 0 for no limit"
			}
		case AnnotationResponseTimeout:
			d, err := time.ParseDuration(value)
			if s.ResponseTimeout = d; err != nil || d <= 0 {
				s.ResponseTimeout, remedy = 0, "give a duration such as 90s"
			}
		case AnnotationProtocol:
			if s.protocol = Protocol(strings.ToLower(value)); s.protocol != HTTP && s.protocol != HTTPS && s.protocol != H2C {
				s.protocol, remedy = "", "give http, https or h2c"
			}
		default:
			remedy = "no such annotation: remove it"
		}
		if remedy != "" {
			problems = append(problems, fmt.Sprintf("annotation %s: %q: %s", key, value, remedy))
		}
	}
	return s, problems
}
