package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff/kubelet/csi"
)

// csiState is what this process knows of a pod's volume that it has provided.
type csiState struct {
	driver, handle string
	// size is that of the persistent volume when it was last known to be grown on this node.
	size int64
}

// csiTask is one volume on its way to a pod.
type csiTask struct {
	*csiVolume
	driver    *csi.Driver
	behaviour behaviour
	published map[string]string // the attachment's metadata, for the driver
	first     bool              // whether this process provides it for the first time
	stages    bool              // whether the driver stages
	ownGroup  *int64            // the group, if the driver gives it the files
}

// provide makes a volume ready, as far as it isn't, and answers its path and when to look after it again.
func (c *csiVolumes) provide(ctx context.Context, v *volume, of *csiVolume) (string, time.Time, error) {
	state := v.provided[v.spec.Name]
	task, err := c.prepare(ctx, of, state == nil)
	if err != nil {
		return "", time.Time{}, err
	}
	if task.first {
		if err := c.attach(ctx, task); err != nil {
			return "", time.Time{}, err
		}
	}
	unlock, err := c.locks.lock(ctx, of.unique())
	if err != nil {
		return "", time.Time{}, err
	}
	defer unlock()
	if of.block() {
		err = c.provideDevice(ctx, v, task)
	} else {
		err = c.provideFiles(ctx, v, task)
	}
	if err != nil {
		return "", time.Time{}, err
	}
	if state == nil {
		state = &csiState{driver: of.driver, handle: of.handle}
		if of.pv != nil {
			state.size = of.pv.Spec.Capacity.Storage().Value()
		}
	}
	grows, err := c.grow(ctx, task, state)
	if err != nil && task.first {
		return "", time.Time{}, err
	}
	v.provided[v.spec.Name] = state
	var again time.Time
	if grows || task.behaviour.republish {
		again = time.Now().Add(csiAttention)
	}
	return c.path(of), again, err
}

// path is where the pod's containers find the volume.
func (c *csiVolumes) path(of *csiVolume) string {
	if of.block() {
		return filepath.Join(c.layout.podDevices(of.pod.UID), of.name)
	}
	return filepath.Join(c.layout.podVolume(of.pod.UID, of.name), "mount")
}

// prepare finds the driver and checks that it provides the volume.
func (c *csiVolumes) prepare(ctx context.Context, of *csiVolume, first bool) (*csiTask, error) {
	driver, err := c.drivers.Get(of.driver)
	if err != nil {
		return nil, errCSI("mounter.SetUpAt failed to get CSI client: %w", err)
	}
	b, err := c.behaviour(of.driver)
	if err == nil {
		err = b.serves(of)
	}
	if err != nil {
		return nil, errCSI("mounter.SetupAt failed to check volume lifecycle mode: %w", err)
	}
	task := &csiTask{csiVolume: of, driver: driver, behaviour: b, first: first}
	if of.pv != nil {
		if task.stages, err = driver.Can(ctx, csi.Stages); err != nil {
			return nil, errCSI("mounter.SetUpAt failed to check for STAGE_UNSTAGE_VOLUME capability: %w", err)
		}
	}
	groups, err := driver.Can(ctx, csi.MountsGroup)
	if err != nil {
		return nil, errCSI("mounter.SetUpAt failed to determine if the node service has VOLUME_MOUNT_GROUP capability: %w", err)
	}
	if groups {
		task.ownGroup = fsGroupOf(of.pod)
	}
	if of.pv != nil && b.attach && b.republish && !first {
		err = c.readAttachment(ctx, task)
	}
	return task, err
}

// attach waits until the volume is attached, if it is to be, and reads what the driver wants to know of that.
func (c *csiVolumes) attach(ctx context.Context, task *csiTask) error {
	if task.pv == nil || !task.behaviour.attach {
		return nil
	}
	c.attached.use(task.unique(), task.pod.UID)
	if err := c.attached.await(ctx, task.pod.Spec.NodeName, task.unique()); err != nil {
		return err
	}
	return c.readAttachment(ctx, task)
}

func (c *csiVolumes) readAttachment(ctx context.Context, task *csiTask) error {
	name := attachmentName(task.csiVolume.driver, task.handle, task.pod.Spec.NodeName)
	found, err := admitted(ctx, func() (*storagev1.VolumeAttachment, error) {
		return c.tokens.client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return errCSI("mounter.SetUpAt failed to fetch publishContext: %w", err)
	}
	if !found.Status.Attached {
		return errCSI("mounter.SetUpAt failed to fetch publishContext: %w", errNoAttachment)
	}
	task.published = found.Status.AttachmentMetadata
	return nil
}

// provideFiles stages and publishes a filesystem and gives it to the pod's group.
func (c *csiVolumes) provideFiles(ctx context.Context, v *volume, task *csiTask) error {
	if !task.first && !task.behaviour.republish {
		return nil
	}
	dir := c.layout.podVolume(task.pod.UID, task.name)
	if err := task.data().save(dir); err != nil {
		return err
	}
	capability, err := task.driver.Capability(ctx, task.use(task.ownGroup))
	if err != nil {
		return err
	}
	staging := ""
	if task.stages {
		staging = filepath.Join(c.layout.staged(task.csiVolume.driver, task.handle), "globalmount")
	}
	if task.stages && !c.isStaged(task.unique()) {
		kept := volData{Handle: task.handle, Driver: task.csiVolume.driver}
		if err := kept.save(filepath.Dir(staging)); err != nil {
			return err
		}
		if err := os.MkdirAll(staging, 0o750); err != nil {
			return fmt.Errorf("making a place to stage a volume: %w", err)
		}
		if err := c.stage(ctx, task, capability, staging); err != nil {
			return err
		}
	}
	target := filepath.Join(dir, "mount")
	if err := c.publish(ctx, v, task, capability, staging, target); err != nil {
		if task.first && csi.Final(err) {
			// The entry beside it stays, so that what is staged is taken down with the pod.
			err = errors.Join(err, removeUnmounted(target))
		}
		return err
	}
	if task.first && task.ownGroup == nil && task.behaviour.ownedByGroup(task.csiVolume) {
		if err := ownTree(target, *fsGroupOf(task.pod), skipsMatchingRoot(task.pod)); err != nil {
			return fmt.Errorf("applyFSGroup failed for vol %s: %w", task.handle, err)
		}
	}
	return nil
}

// data is what is kept of the volume with the pod.
func (t *csiTask) data() volData {
	return volData{
		Name: t.name, Handle: t.handle, Driver: t.csiVolume.driver, Node: t.pod.Spec.NodeName, Mode: t.mode(),
		Attachment: attachmentName(t.csiVolume.driver, t.handle, t.pod.Spec.NodeName),
	}
}

func (c *csiVolumes) stage(ctx context.Context, task *csiTask, capability *csi.Capability, staging string) error {
	secrets, err := c.secret(ctx, task.pv.Spec.CSI.NodeStageSecretRef)
	if err != nil {
		return fmt.Errorf("fetching NodeStageSecretRef failed: %w", err)
	}
	err = task.driver.Stage(ctx, &csi.Stage{
		VolumeId: task.handle, PublishContext: task.published, StagingTargetPath: staging, VolumeCapability: capability,
		Secrets: secrets, VolumeContext: task.attributes(false),
	})
	if err == nil {
		c.setStaged(task.unique(), true)
	}
	return err
}

func (c *csiVolumes) isStaged(name corev1.UniqueVolumeName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.staged[name]
}

func (c *csiVolumes) setStaged(name corev1.UniqueVolumeName, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is {
		c.staged[name] = true
	} else {
		delete(c.staged, name)
	}
}

func (c *csiVolumes) publish(ctx context.Context, v *volume, task *csiTask, capability *csi.Capability, staging, target string) error {
	secrets, err := c.secret(ctx, task.publishSecret())
	if err != nil {
		return fmt.Errorf("fetching NodePublishSecretRef failed: %w", err)
	}
	attributes := task.attributes(task.behaviour.podInfo)
	if len(task.behaviour.tokens) > 0 {
		tokens, err := c.podTokens(ctx, v, task.behaviour.tokens)
		if err != nil {
			return errCSI("mounter.SetUpAt failed to get service accoount token attributes: %w", err)
		}
		into := attributes
		if task.behaviour.tokensAreSecret {
			into = secrets
		}
		into["csi.storage.k8s.io/serviceAccount.tokens"] = tokens
	}
	return task.driver.Publish(ctx, &csi.Publish{
		VolumeId: task.handle, PublishContext: task.published, StagingTargetPath: staging, TargetPath: target, VolumeCapability: capability,
		Readonly: task.readOnly, Secrets: secrets, VolumeContext: attributes,
	})
}

// podTokens are tokens of the pod's account for the audiences that the driver wants, in the driver's form: JSON by audience.
func (c *csiVolumes) podTokens(ctx context.Context, v *volume, wanted []storagev1.TokenRequest) (string, error) {
	out := map[string]authenticationv1.TokenRequestStatus{}
	for _, request := range wanted {
		key := tokenKey{audience: request.Audience, seconds: ptr.Deref(request.ExpirationSeconds, defaultTokenSeconds)}
		current, _, err := c.tokens.token(ctx, v, key)
		if err != nil {
			return "", err
		}
		out[request.Audience] = authenticationv1.TokenRequestStatus{Token: current.value, ExpirationTimestamp: metav1.NewTime(current.expires)}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("encoding tokens: %w", err)
	}
	return string(text), nil
}

// secret reads what a driver may know; no reference, no secrets.
func (c *csiVolumes) secret(ctx context.Context, ref *corev1.SecretReference) (map[string]string, error) {
	out := map[string]string{}
	if ref == nil {
		return out, nil
	}
	found, err := admitted(ctx, func() (*corev1.Secret, error) {
		return c.tokens.client.CoreV1().Secrets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, errCSI("failed to find the secret %s in the namespace %s with error: %w", ref.Name, ref.Namespace, err)
	}
	for key, value := range found.Data {
		out[key] = string(value)
	}
	return out, nil
}

// errStillMounted is of what should be mounted no more.
var errStillMounted = errors.New("still mounted")

// removeUnmounted removes a directory or file unless something is mounted at it. One with content stays and is an error.
func removeUnmounted(path string) error {
	if err := removeTarget(path); !errors.Is(err, errStillMounted) {
		return err
	}
	return nil
}

// removeTarget removes what a driver left of a target that it was to take away. If that is still mounted, the volume is still
// in use, whatever the driver said: an error, before which nothing may be unstaged or forgotten.
func removeTarget(path string) error {
	mounted, err := isMount(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case mounted:
		return fmt.Errorf("%s is %w", path, errStillMounted)
	}
	return remove(path)
}
