package containerd

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
)

// managed is the label by which the CRI plugin marks the images that it knows.
const managed = "io.cri-containerd.image"

// settle bounds the wait for the CRI plugin to take note of an image, and poll is how often it is looked for.
const (
	settle = 10 * time.Second
	poll   = 5 * time.Millisecond
)

// Import brings the images of an OCI or docker archive into the node and unpacks them. It answers their names when pods can
// use them.
func (s *Server) Import(ctx context.Context, path string) ([]string, error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the image archive: %w", err)
	}
	defer file.Close()
	found, err := c.Import(ctx, file, client.WithImageRefTranslator(fullName), client.WithSkipMissing(),
		client.WithImportPlatform(platforms.Default()))
	if err != nil {
		return nil, fmt.Errorf("importing %s: %w", path, err)
	}
	var names []string
	for _, image := range found {
		if err := client.NewImage(c, image).Unpack(ctx, "overlayfs"); err != nil {
			return nil, fmt.Errorf("unpacking image %s: %w", image.Name, err)
		}
		if err := awaitManaged(ctx, c.ImageService(), image.Name); err != nil {
			return nil, err
		}
		names = append(names, image.Name)
	}
	return names, nil
}

// importPause imports the sandbox image once.
func (s *Server) importPause(ctx context.Context) error {
	if s.config.PauseArchive == "" {
		return nil
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.ImageService().Get(ctx, s.config.PauseImage); err == nil {
		return nil
	} else if !errdefs.IsNotFound(err) {
		return fmt.Errorf("looking for the sandbox image: %w", err)
	}
	names, err := s.Import(ctx, s.config.PauseArchive)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == s.config.PauseImage {
			return nil
		}
	}
	return fmt.Errorf("archive %s holds %v, not the sandbox image %s", s.config.PauseArchive, names, s.config.PauseImage)
}

func (s *Server) client() (*client.Client, error) {
	c, err := client.New(s.config.Socket, client.WithDefaultNamespace(Namespace))
	if err != nil {
		return nil, fmt.Errorf("connecting to containerd at %s: %w", s.config.Socket, err)
	}
	return c, nil
}

// awaitManaged waits until the CRI plugin, which follows the image store's events, has marked the image as its own.
func awaitManaged(ctx context.Context, store images.Store, name string) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		image, err := store.Get(ctx, name)
		if err == nil && image.Labels[managed] != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the runtime to take note of image %s: %w", name, ctx.Err())
		case <-tick.C:
		}
	}
}

// fullName makes the name in an archive one that the CRI finds: registry, path and tag.
func fullName(name string) string {
	if named, err := reference.ParseDockerRef(name); err == nil {
		return named.String()
	}
	return name
}
