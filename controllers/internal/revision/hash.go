// Package revision owns the identity of pod templates: their hash, and the ControllerRevisions that keep the history
// of DaemonSets and StatefulSets.
package revision

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/dump"
	"k8s.io/apimachinery/pkg/util/rand"
)

// TemplateHash answers the value of the pod-template-hash label: FNV-1a of the template's dump and, if set, the
// collision count (four bytes, little endian, in a field of eight), in letters that cannot form words.
func TemplateHash(template *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, dump.ForHash(*template)) // a hash never fails to be written
	if collisions != nil {
		var field [8]byte
		binary.LittleEndian.PutUint32(field[:], uint32(*collisions))
		_, _ = h.Write(field[:])
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}
