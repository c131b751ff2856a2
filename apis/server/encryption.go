package server

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/util/wait"
	genericserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"

	"skiff/config"
)

// addEncryption decides how objects are written to etcd. Plugins of key
// management services are asked until the server has drained.
func (s *Server) addEncryption(cfg *genericserver.Config) error {
	e := s.config.Encryption
	if e.ConfigFile == "" {
		return nil
	}
	drained := wait.ContextForChannel(s.drained)
	ctx, closeKeys := context.WithCancel(drained)
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, e.ConfigFile, e.AutomaticReload, cfg.APIServerID)
	if err != nil {
		closeKeys()
		return unusable("encryption-provider-config", e.ConfigFile, err, encryptionRemedy)
	}
	metrics.RecordEncryptionConfigLastConfigInfo(cfg.APIServerID, loaded.EncryptionFileContentHash)
	if !e.AutomaticReload {
		context.AfterFunc(drained, closeKeys)
		cfg.ResourceTransformers = encryptionconfig.StaticTransformers(loaded.Transformers)
		addKeyChecks(cfg, loaded.HealthChecks...)
		return nil
	}
	// A configuration that is reloaded has one check for all plugins.
	dynamic := encryptionconfig.NewDynamicTransformers(loaded.Transformers, loaded.HealthChecks[0], closeKeys, loaded.KMSCloseGracePeriod)
	cfg.ResourceTransformers = dynamic
	addKeyChecks(cfg, dynamic)
	reload := controller.NewDynamicEncryptionConfiguration("encryption-provider-config-automatic-reload-controller",
		e.ConfigFile, dynamic, loaded.EncryptionFileContentHash, cfg.APIServerID)
	err = cfg.AddPostStartHook("start-encryption-provider-config-automatic-reload", func(genericserver.PostStartHookContext) error {
		s.background.Go(func() { reload.Run(drained) })
		return nil
	})
	if err != nil {
		closeKeys()
		return fmt.Errorf("following the encryption configuration: %w", err)
	}
	return nil
}

// addKeyChecks leaves /livez out: a server without its keys gains nothing from a restart.
func addKeyChecks(cfg *genericserver.Config, checks ...healthz.HealthChecker) {
	cfg.AddHealthzChecks(checks...)
	cfg.AddReadyzChecks(checks...)
}

const encryptionRemedy = "give a readable apiserver.config.k8s.io/v1 EncryptionConfiguration"

// CheckEncryption reports an encryption configuration that can't be used, as a
// *config.Error. It asks no key management service.
func CheckEncryption(e config.Encryption) error {
	if e.ConfigFile == "" {
		return nil
	}
	ended := make(chan struct{})
	close(ended)
	if _, err := encryptionconfig.LoadEncryptionConfig(wait.ContextForChannel(ended), e.ConfigFile, e.AutomaticReload, ""); err != nil {
		return unusable("encryption-provider-config", e.ConfigFile, err, encryptionRemedy)
	}
	return nil
}
