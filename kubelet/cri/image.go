package cri

import (
	"context"
	"fmt"
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Image is an image in the runtime's store.
type Image struct {
	// ID is the digest of its configuration.
	ID                string
	Tags, RepoDigests []string
	Size              int64
	Pinned            bool
	// UID is the user that the image runs as, when it is a number; User its name otherwise.
	UID  *int64
	User string
}

// Filesystem is the use of the filesystem below a mount point.
type Filesystem struct {
	Mountpoint        string
	UsedBytes, Inodes uint64
	At                time.Time
}

// Image finds an image by name, digest or id; false when it isn't there.
func (c *Client) Image(ctx context.Context, name string) (Image, bool, error) {
	answer, err := c.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &ImageSpec{Image: name}})
	if err != nil {
		return Image{}, false, fmt.Errorf("looking for image %q: %w", name, plain(err))
	}
	if answer.GetImage() == nil {
		return Image{}, false, nil
	}
	return image(answer.GetImage()), true, nil
}

// Images lists the store.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	answer, err := c.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", plain(err))
	}
	out := make([]Image, 0, len(answer.GetImages()))
	for _, item := range answer.GetImages() {
		out = append(out, image(item))
	}
	return out, nil
}

// Pull fetches an image and answers the reference that containers are created from. Nil credentials mean anonymous.
func (c *Client) Pull(ctx context.Context, name string, credentials *AuthConfig, of *SandboxConfig) (string, error) {
	answer, err := c.images.PullImage(ctx, &runtimeapi.PullImageRequest{
		Image: &ImageSpec{Image: name}, Auth: credentials, SandboxConfig: of,
	})
	if err != nil {
		return "", plain(err)
	}
	return answer.GetImageRef(), nil
}

// RemoveImage removes an image with all its names. A missing one is removed.
func (c *Client) RemoveImage(ctx context.Context, id string) error {
	_, err := c.images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &ImageSpec{Image: id}})
	return ignoreMissing(err, "removing image", id)
}

// ImageFilesystem answers the use of the filesystem that holds the images.
func (c *Client) ImageFilesystem(ctx context.Context) (Filesystem, error) {
	answer, err := c.images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		return Filesystem{}, fmt.Errorf("reading the image filesystem: %w", plain(err))
	}
	for _, fs := range answer.GetImageFilesystems() {
		return Filesystem{
			Mountpoint: fs.GetFsId().GetMountpoint(), UsedBytes: fs.GetUsedBytes().GetValue(), Inodes: fs.GetInodesUsed().GetValue(),
			At: at(fs.GetTimestamp()),
		}, nil
	}
	return Filesystem{}, fmt.Errorf("reading the image filesystem: the runtime reports none")
}

func image(in *runtimeapi.Image) Image {
	out := Image{ID: in.GetId(), Tags: in.GetRepoTags(), RepoDigests: in.GetRepoDigests(), Size: int64(in.GetSize()), Pinned: in.GetPinned()}
	if uid := in.GetUid(); uid != nil {
		value := uid.GetValue()
		out.UID = &value
		return out
	}
	out.User = in.GetUsername()
	if n, err := strconv.ParseInt(out.User, 10, 64); err == nil {
		out.UID, out.User = &n, ""
	}
	return out
}
