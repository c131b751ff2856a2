package cri

// Labels and annotations by which sandboxes and containers tell the pod that they are of. They are upstream's, so that
// crictl and log collectors understand them.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"

	AnnotationHash              = "io.kubernetes.container.hash"
	AnnotationRestartCount      = "io.kubernetes.container.restartCount"
	AnnotationTerminationPath   = "io.kubernetes.container.terminationMessagePath"
	AnnotationTerminationPolicy = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPreStop           = "io.kubernetes.container.preStopHandler"
	AnnotationGracePeriod       = "io.kubernetes.pod.terminationGracePeriod"
	// AnnotationImageVolumes are the images that a container mounts as volumes, joined by commas. It is skiff's own: the
	// runtime's list of containers doesn't say.
	AnnotationImageVolumes = "skiff.dev/image-volumes"
)
