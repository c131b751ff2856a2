package config

import "strings"

// KubernetesVersion is the release of Kubernetes whose API skiff serves.
const KubernetesVersion = "v1.37.2"

// Build is the version of skiff itself, set by the linker.
var Build = "dev" //nolint:gochecknoglobals // the linker's -X can only set a variable

// GitVersion answers what /version and the kubelet report, a semantic version
// with the build as metadata: v1.37.2+skiff.<build>.
func GitVersion() string {
	build := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' {
			return r
		}
		return '-'
	}, Build)
	return KubernetesVersion + "+skiff." + build
}
