package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"skiff/config"
	"skiff/kubelet/join"
)

// sharedPatience is how long a server may take to tell the shared settings to a host that knows them from before.
const sharedPatience = 5 * time.Second

// nodeConfigName is the config map in kube-system that holds the shared settings.
const nodeConfigName = "skiff-node-config"

// sharedFlags are the settings that all nodes of a cluster share: the server's are handed to those that join.
func sharedFlags() []string {
	return []string{"cluster-cidr", "service-cidr", "cluster-dns", "cluster-domain", "cni", "node-network"}
}

// nodeConfig is what joining nodes are given, by flag; nil when none can join.
func nodeConfig(c *config.Config) map[string]string {
	if c.APIOnly {
		return nil
	}
	all, out := flagValues(c), map[string]string{}
	for _, flag := range sharedFlags() {
		out[flag] = all[flag]
	}
	return out
}

// setShared puts shared settings in place of cfg's own; those that this skiff doesn't know are left out.
func setShared(cfg *config.Config, values map[string]string) error {
	s := settings{}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.bind(f)
	s.Config = *cfg
	for flag, value := range values {
		if !slices.Contains(sharedFlags(), flag) {
			continue
		}
		if err := f.Set(flag, value); err != nil {
			return fmt.Errorf("reading the cluster's %s: %w", flag, err)
		}
	}
	*cfg = s.Config
	return cfg.Validate()
}

func sharedFile(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "cluster.json") }

// shared asks the server for what all nodes share and remembers it. While the server is away, what it said last holds.
func shared(ctx context.Context, cfg *config.Config, credentials *join.Credentials) error {
	values, err := askShared(ctx, credentials)
	if err != nil {
		known, readErr := readShared(cfg)
		if known == nil {
			return errors.Join(fmt.Errorf("server: reading the cluster's settings: %w: check --server, and that the server runs", err), readErr)
		}
		klog.FromContext(ctx).Info("The server does not answer; the settings that it told last are used", "err", err)
		return setShared(cfg, known)
	}
	if err := remember(cfg, values); err != nil {
		return fmt.Errorf("remembering the cluster's settings: %w", err)
	}
	return setShared(cfg, values)
}

// remember writes the settings for readShared: the file is complete, or as it was.
func remember(cfg *config.Config, values map[string]string) error {
	raw, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		return err
	}
	path := sharedFile(cfg)
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func askShared(ctx context.Context, credentials *join.Credentials) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, sharedPatience)
	defer cancel()
	client, err := clientOf(credentials.Kubelet())
	if err != nil {
		return nil, err
	}
	m, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, nodeConfigName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// recallShared puts what was remembered, if anything, in place of cfg's own.
func recallShared(cfg *config.Config) error {
	known, err := readShared(cfg)
	if err != nil || known == nil {
		return err
	}
	return setShared(cfg, known)
}

// readShared answers what was remembered, nil on a host that has joined nothing.
func readShared(cfg *config.Config) (map[string]string, error) {
	raw, err := os.ReadFile(sharedFile(cfg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's settings: %w", err)
	}
	var values map[string]string
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("reading the cluster's settings in %s: %w: remove the file", sharedFile(cfg), err)
	}
	return values, nil
}
