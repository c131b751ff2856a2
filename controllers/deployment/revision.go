package deployment

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"skiff/controllers/internal/owner"
	"skiff/controllers/internal/revision"
)

const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
	hashLabel          = appsv1.DefaultDeploymentUniqueLabelKey
	// historyLength bounds the text of the history annotation.
	historyLength = 2000
	// hashLength is the longest hash, ten digits.
	hashLength = 10
)

// isOwn answers whether an annotation is about the one object and not copied between a deployment and its sets.
func isOwn(annotation string) bool {
	switch annotation {
	case corev1.LastAppliedConfigAnnotation, revisionAnnotation, historyAnnotation, desiredAnnotation, maxAnnotation, appsv1.DeprecatedRollbackTo:
		return true
	}
	return false
}

// findCurrent answers the oldest set whose template is the deployment's but for the hash label.
func findCurrent(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	for _, set := range byCreation(sets) {
		if sameTemplate(&set.Spec.Template, &d.Spec.Template) {
			return set
		}
	}
	return nil
}

func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, hashLabel)
	delete(b.Labels, hashLabel)
	return equality.Semantic.DeepEqual(a, b)
}

// ensureCurrent makes sure that the current template has a set; it answers false when the set must be created first.
func (p *planner) ensureCurrent() bool {
	p.syncRevision()
	if p.current != nil {
		return true
	}
	p.plan.Create = p.newSet()
	setRevision(p.d, p.plan.Create.Annotations[revisionAnnotation])
	if hasDeadline(p.d) {
		p.setProgressing(corev1.ConditionTrue, "NewReplicaSetCreated", "Created new replica set %q", p.plan.Create.Name)
	}
	return false
}

// syncRevision gives an existing current set its revision, annotations and minReadySeconds.
func (p *planner) syncRevision() {
	if p.current == nil {
		return
	}
	annotateSet(p.d, p.current, latestRevision(p.old)+1)
	p.current.Spec.MinReadySeconds = p.d.Spec.MinReadySeconds
	setRevision(p.d, p.current.Annotations[revisionAnnotation])
	if hasDeadline(p.d) && condition(p.d.Status, appsv1.DeploymentProgressing) == nil {
		p.setProgressing(corev1.ConditionTrue, "FoundNewReplicaSet", "Found new replica set %q", p.current.Name)
	}
}

func (p *planner) newSet() *appsv1.ReplicaSet {
	hash := revision.TemplateHash(&p.d.Spec.Template, p.d.Status.CollisionCount)
	template := *p.d.Spec.Template.DeepCopy()
	template.Labels = with(template.Labels, hashLabel, hash)
	selector := p.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = with(selector.MatchLabels, hashLabel, hash)
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: setName(p.d.Name, hash), Namespace: p.d.Namespace, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{owner.NewRef(p.d, kind())},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32), MinReadySeconds: p.d.Spec.MinReadySeconds, Selector: selector, Template: template,
		},
	}
	size := newSize(p.d, p.old, set)
	set.Spec.Replicas = &size
	annotateSet(p.d, set, latestRevision(p.old)+1)
	annotateSize(set, p.d)
	return set
}

func setName(deployment, hash string) string {
	if room := validation.DNS1123SubdomainMaxLength - hashLength - 1; len(deployment) > room {
		deployment = deployment[:room]
	}
	return deployment + "-" + hash
}

func with(labels map[string]string, key, value string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[key] = value
	return labels
}

// annotateSet copies the deployment's annotations and raises the set's revision, keeping the former ones as history.
func annotateSet(d *appsv1.Deployment, set *appsv1.ReplicaSet, next int64) {
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if !isOwn(k) {
			set.Annotations[k] = v
		}
	}
	before, had := set.Annotations[revisionAnnotation]
	former, err := strconv.ParseInt(before, 10, 64)
	if (had && err != nil) || former >= next {
		return
	}
	set.Annotations[revisionAnnotation] = strconv.FormatInt(next, 10)
	if had {
		set.Annotations[historyAnnotation] = extendHistory(set.Annotations[historyAnnotation], before)
	}
}

// extendHistory appends a revision and forgets the oldest ones that no longer fit.
func extendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	for len(history)+1+len(revision) > historyLength {
		_, rest, more := strings.Cut(history, ",")
		if !more {
			return revision
		}
		history = rest
	}
	return history + "," + revision
}

func annotateSize(set *appsv1.ReplicaSet, d *appsv1.Deployment) {
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	set.Annotations[desiredAnnotation] = strconv.Itoa(int(*d.Spec.Replicas))
	set.Annotations[maxAnnotation] = strconv.Itoa(int(*d.Spec.Replicas + maxSurge(d)))
}

func annotatedSize(set *appsv1.ReplicaSet, annotation string) (int32, bool) {
	value, ok := set.Annotations[annotation]
	n, err := strconv.ParseInt(value, 10, 32)
	return int32(n), ok && err == nil
}

func setRevision(d *appsv1.Deployment, revision string) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[revisionAnnotation] = revision
}

// revisionOf answers the set's revision, 0 without a readable one.
func revisionOf(set *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(set.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func latestRevision(sets []*appsv1.ReplicaSet) int64 {
	var latest int64
	for _, set := range sets {
		latest = max(latest, revisionOf(set))
	}
	return latest
}
