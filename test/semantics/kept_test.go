package semantics

// kept are the steps whose answers differ on purpose, with the reason.
func kept() map[string]string {
	const hub = "the message names the Go type of Kubernetes' internal version; here v1 is the only one"
	const (
		group   = "metrics.k8s.io is served with nothing installed"
		version = "the version says that this is skiff"
		checks  = "another set of background loops starts, and one server has no peers to reconcile"
	)
	return map[string]string{
		"access: anonymous version":                  version,
		"access: token review of an audience":        "the message tells why; that another authenticator found nothing adds nothing",
		"limits: json list kind":                     hub,
		"limits: path /":                             checks,
		"limits: path /apis":                         group,
		"limits: path /apis/":                        group,
		"limits: delete the root":                    checks,
		"limits: path /version/":                     version,
		"limits: path /readyz?verbose=1&exclude=zzz": checks,
		"subresources: controller scale as a beta":   "groups that are no longer served are unknown here",
		"subresources: open id":                      "the signing key is an elliptic curve's by default",
		"tables: daemonsets d table":                 "the annotation is part of the object, not made when it is sent",
		"objects: create another kind":               hub,
		"objects: metadata list of one":              hub,
		"objects: metadata of a list":                hub,
	}
}
