package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Authentication is what extension API servers need to know callers by.
type Authentication struct {
	ClientCA        []byte
	RequestHeaderCA []byte
	AllowedNames    []string // of the front proxy's certificate
}

// Authentication publishes the authorities in kube-system/extension-apiserver-authentication.
func (b Bootstrap) Authentication(ctx context.Context, a Authentication) error {
	data := map[string]string{"client-ca-file": string(a.ClientCA)}
	if len(a.RequestHeaderCA) > 0 {
		data["requestheader-client-ca-file"] = string(a.RequestHeaderCA)
		for key, value := range map[string][]string{
			"requestheader-allowed-names":        a.AllowedNames,
			"requestheader-username-headers":     {"X-Remote-User"},
			"requestheader-uid-headers":          {"X-Remote-Uid"},
			"requestheader-group-headers":        {"X-Remote-Group"},
			"requestheader-extra-headers-prefix": {"X-Remote-Extra-"},
		} {
			encoded, err := json.Marshal(value)
			if err != nil {
				return fmt.Errorf("encoding %s: %w", key, err)
			}
			data[key] = string(encoded)
		}
	}
	return b.configMap(ctx, "extension-apiserver-authentication", data, func(have map[string]string) bool { return maps.Equal(have, data) })
}

// LegacyTokens records since when the use of tokens in Secrets is tracked. A day that somebody wrote stays if it is one.
func (b Bootstrap) LegacyTokens(ctx context.Context) error {
	return b.configMap(ctx, "kube-apiserver-legacy-service-account-token-tracking",
		map[string]string{"since": time.Now().UTC().Format(time.DateOnly)}, func(have map[string]string) bool {
			_, err := time.Parse(time.DateOnly, have["since"])
			return err == nil
		})
}

// configMap makes a config map of kube-system, and corrects one that isn't right.
func (b Bootstrap) configMap(ctx context.Context, name string, data map[string]string, right func(map[string]string) bool) error {
	c := b.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	have, err := c.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceSystem}, Data: data}, metav1.CreateOptions{})
	case err == nil && !right(have.Data):
		have.Data = data
		_, err = c.Update(ctx, have, metav1.UpdateOptions{})
	}
	if err := ignoreRace(err); err != nil {
		return fmt.Errorf("writing config map %s: %w", name, err)
	}
	return nil
}
