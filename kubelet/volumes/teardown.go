package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// contentKinds are the kinds whose directory holds the data itself. Of every other kind the directory is only a place
// to mount at, and must be empty once unmounted: what lies there belongs to somebody else and is never deleted.
func contentKinds() []string {
	return []string{emptyDirName, configMapName, secretName, downwardName, projectedName}
}

// tearDown unmounts and removes everything of a pod. It looks only at the disk and the mount table, so it also removes
// what an earlier process left. Only what drivers provided they have to take away themselves.
func (m *Manager) tearDown(ctx context.Context, uid types.UID) error {
	pod := m.podDir(uid)
	// Subpaths are bound from volumes, which drivers can't take away before.
	if err := unmountBelow(filepath.Join(pod, subpathsDir)); err != nil {
		return err
	}
	if err := m.csi.tearDown(ctx, uid); err != nil {
		return err
	}
	if err := unmountBelow(pod); err != nil {
		return err
	}
	left, err := mountsBelow(pod)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%s is still mounted", left[0])
	}
	if err := removeSubpaths(filepath.Join(pod, subpathsDir)); err != nil {
		return err
	}
	if err := removeVolumes(filepath.Join(pod, "volumes")); err != nil {
		return err
	}
	return removeEmpty(pod)
}

// removeVolumes removes the directories of all volumes. Nothing may be mounted below root: content is deleted.
func removeVolumes(root string) error {
	kinds, err := entries(root)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		dir := filepath.Join(root, kind)
		if slices.Contains(contentKinds(), kind) {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("removing %s: %w", dir, err)
			}
			continue
		}
		if err := removePlaces(dir); err != nil {
			return err
		}
	}
	return remove(root)
}

// removeSubpaths removes the places subpaths were bound at: <volume>/<container>/<index>, an empty file or directory.
func removeSubpaths(root string) error {
	volumes, err := entries(root)
	if err != nil {
		return err
	}
	for _, volume := range volumes {
		containers, err := entries(filepath.Join(root, volume))
		if err != nil {
			return err
		}
		for _, container := range containers {
			if err := removePlaces(filepath.Join(root, volume, container)); err != nil {
				return err
			}
		}
		if err := remove(filepath.Join(root, volume)); err != nil {
			return err
		}
	}
	return remove(root)
}

// removePlaces removes dir and the mount places in it, but nothing that has content.
func removePlaces(dir string) error {
	places, err := entries(dir)
	if err != nil {
		return err
	}
	for _, place := range places {
		if err := remove(filepath.Join(dir, place)); err != nil {
			return err
		}
	}
	return remove(dir)
}

// removeEmpty removes a directory unless others keep something in it.
func removeEmpty(dir string) error {
	left, err := entries(dir)
	if err != nil || len(left) > 0 {
		return err
	}
	return remove(dir)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a volume's place: %w", err)
	}
	return nil
}

// entries lists a directory; a missing one is empty.
func entries(dir string) ([]string, error) {
	found, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	names := make([]string, 0, len(found))
	for _, entry := range found {
		names = append(names, entry.Name())
	}
	return names, nil
}
