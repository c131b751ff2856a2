package property

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff/kubelet/hollow"
)

// nodeCount is how many nodes there are.
const nodeCount = 3

func hollowNodes() []string {
	var out []string
	for i := range nodeCount {
		out = append(out, fmt.Sprintf("hollow-%d", i))
	}
	return out
}

func labels(name string) map[string]string { return map[string]string{"app": name} }

func template(name string, policy corev1.RestartPolicy) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels(name)},
		Spec:       corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{Name: "main", Image: "v0"}}},
	}
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels(name)}
}

func newDeployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "deployment"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)), Selector: selector("deployment"), Template: template("deployment", corev1.RestartPolicyAlways),
		},
	}
}

func newStatefulSet() *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "statefulset"},
		Spec:       appsv1.StatefulSetSpec{Replicas: new(int32(2)), Selector: selector("statefulset"), Template: template("statefulset", corev1.RestartPolicyAlways)},
	}
}

func newDaemonSet() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "daemonset"},
		Spec:       appsv1.DaemonSetSpec{Selector: selector("daemonset"), Template: template("daemonset", corev1.RestartPolicyAlways)},
	}
}

func newJob(name string, mode batchv1.CompletionMode) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.JobSpec{
			CompletionMode: &mode, Completions: new(int32(4)), Parallelism: new(int32(2)), BackoffLimit: new(int32(1000)),
			Template: template(name, corev1.RestartPolicyNever),
		},
	}
	j.Spec.Template.Annotations = map[string]string{hollow.ExitAnnotation: "never"} // the history ends them
	return j
}
