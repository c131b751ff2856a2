// Package volumes makes the volumes of pods available on the host and takes them away again.
//
// A volume lives where other kubelets put it, so that tools that look there find it:
//
//	<Root>/pods/<pod uid>/volumes/kubernetes.io~<kind>/<volume>
//	<Root>/pods/<pod uid>/volume-subpaths/<volume>/<container>/<mount index>
//
// Every kind of volume is one file: how to recognise it and how to set it up. Kinds whose content comes from the API
// (configMap, secret, downwardAPI, projected) only say which files they consist of; writing them so that a reader sees
// either all of the old files or all of the new ones, and writing them again when an object, the pod or a token's age
// asks for it, is the same for all of them (render.go, atomic.go, refresh.go).
//
// Volumes of CSI drivers (csi*.go) are asked of their drivers in the order attach, stage, publish, grow, and taken back in the
// opposite one; what they need of the node's status is in attachments.go. Images are mounted by the container runtime.
//
// Set-up is idempotent and keeps its state on disk and in the mount table alone: after a restart Mount finds what is
// there and completes it. Tear-down never follows a mount: a directory is deleted only when nothing is mounted below it.
package volumes
