package images

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"skiff/kubelet/cri"
)

// defaultRegistry is the key of credentials for images without a registry in their name.
const defaultRegistry = "index.docker.io"

// Keyring holds credentials by the registries and paths that they are for.
type Keyring struct{ entries []entry }

type entry struct {
	// pattern is a host, optionally with *, port and path.
	pattern string
	auth    *cri.AuthConfig
}

// auth is one entry of a docker configuration file.
type auth struct {
	Username, Password, Auth, IdentityToken, RegistryToken string
}

// keyring reads the pod's pull secrets. Those that are missing or malformed are told of and left out.
func (m *Manager) keyring(ctx context.Context, p *corev1.Pod) *Keyring {
	ring := &Keyring{}
	var missing []string
	for _, ref := range p.Spec.ImagePullSecrets {
		secret, err := m.secrets(ctx, p.Namespace, ref.Name)
		if err != nil {
			missing = append(missing, ref.Name)
			continue
		}
		if err := ring.Add(secret); err != nil {
			m.events.Event(p, "", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", err.Error())
		}
	}
	if len(missing) > 0 {
		m.events.Event(p, "", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf(
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
	return ring
}

// Add adds a secret's credentials; a secret of another kind holds none.
func (k *Keyring) Add(secret *corev1.Secret) error {
	found := map[string]auth{}
	var err error
	switch {
	case secret.Type == corev1.SecretTypeDockerConfigJson && len(secret.Data[corev1.DockerConfigJsonKey]) > 0:
		var file struct{ Auths map[string]auth }
		err = json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &file)
		found = file.Auths
	case secret.Type == corev1.SecretTypeDockercfg && len(secret.Data[corev1.DockerConfigKey]) > 0:
		err = json.Unmarshal(secret.Data[corev1.DockerConfigKey], &found)
	}
	if err != nil {
		return fmt.Errorf("reading the credentials of secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	for registry, a := range found {
		pattern, ok := normalize(registry)
		if !ok {
			continue
		}
		if a.Username == "" && a.Auth != "" {
			a.Username, a.Password = decodeAuth(a.Auth)
		}
		k.entries = append(k.entries, entry{pattern, &cri.AuthConfig{
			Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
		}})
	}
	// The most specific pattern comes first.
	slices.SortStableFunc(k.entries, func(a, b entry) int { return strings.Compare(b.pattern, a.pattern) })
	return nil
}

// Lookup answers the credentials for a repository such as docker.io/library/busybox, the most specific ones first.
func (k *Keyring) Lookup(repository string) []*cri.AuthConfig {
	var out []*cri.AuthConfig
	for i := range k.entries {
		if matches(k.entries[i].pattern, repository) {
			out = append(out, k.entries[i].auth)
		}
	}
	if len(out) == 0 && isDefault(repository) {
		for i := range k.entries {
			if k.entries[i].pattern == defaultRegistry || strings.HasPrefix(k.entries[i].pattern, defaultRegistry+"/") {
				out = append(out, k.entries[i].auth)
			}
		}
	}
	return out
}

func isDefault(repository string) bool {
	host, _, _ := strings.Cut(repository, "/")
	return host == "docker.io" || host == defaultRegistry || !strings.ContainsAny(host, ".:")
}

// normalize makes a pattern of a registry as docker writes it: with or without scheme, with the version of its API behind it.
func normalize(registry string) (string, bool) {
	u, err := parse(registry)
	if err != nil {
		return "", false
	}
	p := u.Path
	if strings.HasPrefix(p, "/v2/") || strings.HasPrefix(p, "/v1/") {
		p = p[3:]
	}
	if p == "" || p == "/" {
		return u.Host, true
	}
	return u.Host + p, true
}

func parse(registry string) (*url.URL, error) {
	if !strings.HasPrefix(registry, "https://") && !strings.HasPrefix(registry, "http://") {
		registry = "https://" + registry
	}
	return url.Parse(registry)
}

// matches reports whether a repository is one of the pattern's: the same port, each part of the host equal to or matched by the
// pattern's, and a path that begins with the pattern's.
func matches(pattern, repository string) bool {
	want, err := parse(pattern)
	if err != nil {
		return false
	}
	got, err := parse(repository)
	if err != nil {
		return false
	}
	wantHost, wantPort := hostPort(want.Host)
	gotHost, gotPort := hostPort(got.Host)
	wantParts, gotParts := strings.Split(wantHost, "."), strings.Split(gotHost, ".")
	if wantPort != gotPort || len(wantParts) != len(gotParts) || !strings.HasPrefix(got.Path, want.Path) {
		return false
	}
	for i := range wantParts {
		if ok, err := path.Match(wantParts[i], gotParts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func hostPort(s string) (host, port string) {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return host, port
	}
	return s, ""
}

func decodeAuth(text string) (user, password string) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		if raw, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return "", ""
		}
	}
	user, password, _ = strings.Cut(strings.Trim(string(raw), "\x00"), ":")
	return user, password
}
