package bootstrap

import (
	"context"
	"maps"

	"skiff/config/manifests"
)

// nodeConfig is the config map in kube-system that joined nodes read.
const nodeConfig = "skiff-node-config"

// Joining makes what further nodes join by: the rights of bootstrap tokens and of joined nodes, and the settings that all
// nodes share.
func (b Bootstrap) Joining(ctx context.Context, settings map[string]string) error {
	err := b.ensureRoles(ctx, roles{
		manifests.JoiningClusterRoles, manifests.JoiningClusterRoleBindings, manifests.JoiningRoles, manifests.JoiningRoleBindings,
	})
	if err != nil {
		return err
	}
	return b.configMap(ctx, nodeConfig, settings, func(have map[string]string) bool { return maps.Equal(have, settings) })
}
