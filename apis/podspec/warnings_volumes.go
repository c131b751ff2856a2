package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func (w *warner) volumes() {
	for i := range w.spec.Volumes {
		v := &w.spec.Volumes[i]
		at := w.at("volumes").Index(i)
		for _, d := range []struct {
			used       bool
			name, text string
		}{
			{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
			{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
			{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
			{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
			{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
		} {
			if d.used {
				w.say(at.Child(d.name), "%s", d.text)
			}
		}
		if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
			w.out = append(w.out, ClaimWarnings(&e.VolumeClaimTemplate.Spec, at.Child("ephemeral", "volumeClaimTemplate", "spec"))...)
		}
		if v.CephFS != nil {
			w.say(at.Child("cephfs"), "deprecated in v1.28, non-functional in v1.31+")
		}
		if v.RBD != nil {
			w.say(at.Child("rbd"), "deprecated in v1.28, non-functional in v1.31+")
		}
	}
	for i := range w.spec.Volumes {
		w.overlaps(&w.spec.Volumes[i])
	}
}

// placed is a path in a volume and what puts a file there.
type placed struct{ path, source string }

func (p placed) String() string {
	if p.source == "" {
		return fmt.Sprintf("%q", p.path)
	}
	return fmt.Sprintf("%q (%s)", p.path, p.source)
}

// overlaps warns of files of a volume that lie in each other's place.
func (w *warner) overlaps(v *corev1.Volume) {
	warn := func(kind string, seen []placed, next []placed) []placed {
		for _, p := range next {
			p.path = strings.TrimRight(p.path, "/")
			for _, other := range seen {
				if p.path != "" && other.path != "" && (within(other.path, p.path) || within(p.path, other.path)) {
					w.out = append(w.out, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", v.Name, kind, p, other))
				}
			}
			seen = append(seen, p)
		}
		return seen
	}
	switch {
	case v.ConfigMap != nil:
		warn(fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), nil, keyPaths(v.ConfigMap.Items, ""))
	case v.Secret != nil:
		warn(fmt.Sprintf("Secret %q", v.Secret.SecretName), nil, keyPaths(v.Secret.Items, ""))
	case v.DownwardAPI != nil:
		warn("DownwardAPI", nil, downwardPaths(v.DownwardAPI.Items, ""))
	case v.Projected != nil:
		var seen []placed
		for _, s := range v.Projected.Sources {
			if s == (corev1.VolumeProjection{}) {
				w.out = append(w.out, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				continue
			}
			seen = warn("Projected", seen, projectedPaths(s))
		}
	}
}

func within(path, dir string) bool { return strings.HasPrefix(path+"/", dir+"/") }

func keyPaths(items []corev1.KeyToPath, source string) (out []placed) {
	for _, i := range items {
		out = append(out, placed{i.Path, source})
	}
	return out
}

func downwardPaths(items []corev1.DownwardAPIVolumeFile, source string) (out []placed) {
	for _, i := range items {
		out = append(out, placed{i.Path, source})
	}
	return out
}

func projectedPaths(s corev1.VolumeProjection) (out []placed) {
	switch {
	case s.ConfigMap != nil && s.ConfigMap.Items != nil:
		return keyPaths(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil && s.Secret.Items != nil:
		return keyPaths(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil && s.DownwardAPI.Items != nil:
		return downwardPaths(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []placed{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := s.ClusterTrustBundle.Name
		if name == nil {
			name = s.ClusterTrustBundle.SignerName
		}
		if name != nil {
			return []placed{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", *name)}}
		}
	case s.PodCertificate != nil:
		for _, p := range []placed{
			{s.PodCertificate.CertificateChainPath, "PodCertificate chain"}, {s.PodCertificate.KeyPath, "PodCertificate key"},
			{s.PodCertificate.CredentialBundlePath, "PodCertificate credential bundle"},
		} {
			if p.path != "" {
				out = append(out, p)
			}
		}
	}
	return out
}
