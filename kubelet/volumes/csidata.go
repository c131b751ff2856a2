package volumes

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
)

// csiLayout is where CSI volumes are, as upstream lays them out, because drivers rely on it. Below the kubelet's directory:
//
//	pods/<uid>/volumes/kubernetes.io~csi/<name>/{mount,vol_data.json}            filesystem as published; what it is
//	pods/<uid>/volumeDevices/kubernetes.io~csi/<name>                            link to a device as published
//	plugins/kubernetes.io/csi/<driver>/<hash>/{globalmount,vol_data.json}        filesystem as staged; what it is
//	plugins/kubernetes.io/csi/volumeDevices/staging/<name>                       device as staged
//	plugins/kubernetes.io/csi/volumeDevices/publish/<name>/<uid>                 device as published
//	plugins/kubernetes.io/csi/volumeDevices/<name>/data/vol_data.json            what it is
//
// The pod's entry (vol_data.json or link) is made before anything is asked of the driver and removed after all of it is
// undone: a pod has a volume exactly as long as the entry is there.
type csiLayout struct{ root string }

const (
	volDataFile = "vol_data.json"
	// volDataFresh is what becomes volDataFile once it is written.
	volDataFresh = "." + volDataFile
)

// volData is what is kept of a volume, in upstream's file.
type volData struct {
	Name       string                        `json:"specVolID,omitempty"`
	Handle     string                        `json:"volumeHandle"`
	Driver     string                        `json:"driverName"`
	Node       string                        `json:"nodeName,omitempty"`
	Attachment string                        `json:"attachmentID,omitempty"`
	Mode       storagev1.VolumeLifecycleMode `json:"volumeLifecycleMode,omitempty"`
}

func (l csiLayout) podVolumes(uid types.UID) string {
	return filepath.Join(l.root, "pods", string(uid), "volumes", csiName)
}

func (l csiLayout) podVolume(uid types.UID, name string) string {
	return filepath.Join(l.podVolumes(uid), name)
}

func (l csiLayout) podDevices(uid types.UID) string {
	return filepath.Join(l.root, "pods", string(uid), "volumeDevices", csiName)
}

func (l csiLayout) staged(driver, handle string) string {
	return filepath.Join(l.root, "plugins/kubernetes.io/csi", driver, fmt.Sprintf("%x", sha256.Sum256([]byte(handle))))
}

func (l csiLayout) device(parts ...string) string {
	return filepath.Join(append([]string{l.root, "plugins/kubernetes.io/csi/volumeDevices"}, parts...)...)
}

func (l csiLayout) deviceStaging(name string) string { return l.device("staging", name) }

func (l csiLayout) devicePublished(name string, uid types.UID) string {
	return l.device("publish", name, string(uid))
}

func (l csiLayout) deviceData(name string) string { return l.device(name, "data") }

// save writes what a volume is into dir, making that.
func (d volData) save(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making a volume's directory: %w", err)
	}
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encoding volume data: %w", err)
	}
	// Renamed into place, and on disk before that: half a file would leave a volume that nobody can take down.
	fresh := filepath.Join(dir, volDataFresh)
	if err := writeSynced(fresh, append(data, '\n')); err != nil {
		return fmt.Errorf("failed to save volume data file %s: %w", volDataFile, err)
	}
	if err := os.Rename(fresh, filepath.Join(dir, volDataFile)); err != nil {
		return fmt.Errorf("failed to save volume data file %s: %w", volDataFile, err)
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// loadVolData reads what a volume is; nil if there is nothing.
func loadVolData(dir string) (*volData, error) {
	data, err := os.ReadFile(filepath.Join(dir, volDataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to open volume data file: %w", err)
	}
	out := &volData{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("failed to parse volume data file [%s]: %w", filepath.Join(dir, volDataFile), err)
	}
	return out, nil
}

// held is one volume that a pod has.
type held struct {
	volData
	pod   types.UID
	block bool
}

// all reads the volumes that any pod has; with an error, those that it could read.
func (l csiLayout) all() ([]held, error) {
	pods, err := entries(filepath.Join(l.root, "pods"))
	if err != nil {
		return nil, err
	}
	var out []held
	var failures []error
	for _, pod := range pods {
		of, err := l.of(types.UID(pod))
		failures = append(failures, err)
		out = append(out, of...)
	}
	return out, errors.Join(failures...)
}

// of reads the volumes that a pod has; with an error, those that it could read. An entry whose volume isn't known is an error:
// it can't be taken down.
func (l csiLayout) of(uid types.UID) ([]held, error) {
	var out []held
	mounts, err := entries(l.podVolumes(uid))
	devices, err2 := entries(l.podDevices(uid))
	failures := []error{err, err2}
	for _, name := range mounts {
		data, err := loadVolData(l.podVolume(uid, name))
		failures = append(failures, err)
		if data != nil {
			out = append(out, data.heldBy(uid, name, false))
		}
	}
	for _, name := range devices {
		data, err := loadVolData(l.deviceData(name))
		if err == nil && data == nil {
			err = fmt.Errorf("nothing is known of the device %s", filepath.Join(l.podDevices(uid), name))
		}
		failures = append(failures, err)
		if data != nil {
			out = append(out, data.heldBy(uid, name, true))
		}
	}
	return out, errors.Join(failures...)
}

// heldBy is the volume in its place. The place names it: a file may say nothing.
func (d volData) heldBy(uid types.UID, name string, block bool) held {
	d.Name = name
	return held{d, uid, block}
}

// others says whether the volume is had besides that once: by another pod, or by the same one under another name.
func (l csiLayout) others(h held) (bool, error) {
	all, err := l.all()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(other held) bool {
		same := other.pod == h.pod && other.Name == h.Name && other.block == h.block
		return !same && other.Driver == h.Driver && other.Handle == h.Handle
	}), nil
}
