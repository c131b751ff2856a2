// Package configuration reads what upstream's kube-scheduler is configured with: a KubeSchedulerConfiguration of
// kubescheduler.config.k8s.io/v1, in YAML or JSON. Decoding is strict: a field that isn't known or is given twice is an
// error. Defaults, rules and their messages are upstream's; beyond them everything that skiff's scheduler would leave
// undone is an error too, so that a file that is taken means what it means upstream.
//
// How a file becomes a scheduler:
//
//	bytes -Decode-> KubeSchedulerConfiguration -Default-> -Validate-> -+-> Points: plugins by extension point
//	                                                                   '-> Args: arguments by plugin
package configuration

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	schedv1 "k8s.io/kube-scheduler/config/v1"
)

// kind is what a file has to say it is.
const kind = "KubeSchedulerConfiguration"

// Decode reads a configuration as it is written. The errors are one line, with the path of the field where it is known.
func Decode(data []byte) (*schedv1.KubeSchedulerConfiguration, error) {
	scheme := runtime.NewScheme()
	if err := schedv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering %s: %w", schedv1.SchemeGroupVersion, err)
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	object, gvk, err := strict.Decode(data, nil, nil)
	switch {
	case runtime.IsMissingKind(err), runtime.IsMissingVersion(err), runtime.IsNotRegisteredError(err):
		return nil, fmt.Errorf("it has to begin with `apiVersion: %s` and `kind: %s`", schedv1.SchemeGroupVersion, kind)
	case err != nil:
		return nil, oneLine(err)
	}
	cfg, ok := object.(*schedv1.KubeSchedulerConfiguration)
	if !ok {
		return nil, fmt.Errorf("kind: %s: give `kind: %s`", gvk.Kind, kind)
	}
	if err := cfg.DecodeNestedObjects(strict); err != nil {
		return nil, oneLine(err)
	}
	return cfg, nil
}

// oneLine keeps an error's chain and writes it in one line.
func oneLine(err error) error {
	if text := err.Error(); strings.ContainsAny(text, "\r\n") {
		return errors.New(strings.Join(strings.Fields(text), " "))
	}
	return err
}
