package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig is the administrator's, for the API server at the URL. name is the
// cluster's and context's name.
func (p *PKI) Kubeconfig(name, server string) ([]byte, error) {
	cfg, err := p.adminConfig(name, server)
	if err != nil {
		return nil, err
	}
	return clientcmd.Write(*cfg)
}

// WriteKubeconfig writes the administrator's kubeconfig, mode 0600.
func (p *PKI) WriteKubeconfig(path, name, server string) error {
	data, err := p.Kubeconfig(name, server)
	if err != nil {
		return err
	}
	return replaceKubeconfig(path, data)
}

// MergeKubeconfig adds the administrator's entries to a user's kubeconfig and
// makes them current; other entries stay.
func (p *PKI) MergeKubeconfig(path, name, server string) error {
	ours, err := p.adminConfig(name, server)
	if err != nil {
		return err
	}
	merged, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		merged = clientcmdapi.NewConfig()
	} else if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	merged.Clusters[name], merged.AuthInfos[name], merged.Contexts[name] = ours.Clusters[name], ours.AuthInfos[name], ours.Contexts[name]
	merged.CurrentContext = name
	data, err := clientcmd.Write(*merged)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	return replaceKubeconfig(path, data)
}

func (p *PKI) adminConfig(name, server string) (*clientcmdapi.Config, error) {
	cert, err := p.Read("admin.crt")
	if err != nil {
		return nil, err
	}
	key, err := p.Read("admin.key")
	if err != nil {
		return nil, err
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: p.CA()}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	return cfg, nil
}

func replaceKubeconfig(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("creating the kubeconfig's directory: %w", err)
	}
	return writeFile(path, data, 0o600)
}
