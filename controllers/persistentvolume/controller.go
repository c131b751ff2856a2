// Package persistentvolume binds PersistentVolumeClaims to PersistentVolumes, asks provisioners for volumes and
// releases volumes whose claims are gone.
//
// The binding is a pointer in each direction, written in an order that a crash at any point leaves to be finished:
// volume.spec.claimRef, the volume's phase, claim.spec.volumeName with its annotations, the claim's status. Claims of
// classes with WaitForFirstConsumer are matched by the scheduler, which writes the claimRef or the selected node.
//
// No storage is touched here. Volumes are made and deleted by provisioners: CSI drivers' and the node's own
// (kubelet/localpath); a pod empties those that are recycled.
package persistentvolume

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	volumehelpers "k8s.io/component-helpers/storage/volume"

	"skiff/controllers/internal/claims"
	"skiff/controllers/internal/controller"
	"skiff/controllers/internal/podset"
	"skiff/internal/defaultclass"
)

// resync is how often a claim that is not bound is looked at, and spoken of, without an event.
const resync = 15 * time.Second

type reconciler struct {
	env     controller.Env
	claims  listers.PersistentVolumeClaimLister
	volumes listers.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	pods    cache.Indexer

	newestClaims  latest[*corev1.PersistentVolumeClaim]
	newestVolumes latest[*corev1.PersistentVolume]
	// recyclers are the pods that empty volumes, by volume.
	recyclers map[string]recycler
	counters  *counters
}

// New declares the controller; its keys are claims and, without a namespace, volumes. One worker serves both: two
// could give one volume to two claims.
func New(env controller.Env) (controller.Spec, error) {
	core := env.Informers.Core().V1()
	pvcs, pvs, pods, classes := core.PersistentVolumeClaims(), core.PersistentVolumes(), core.Pods(), env.Informers.Storage().V1().StorageClasses()
	if err := claims.Index(pods.Informer()); err != nil {
		return controller.Spec{}, err
	}
	w, err := newWatches(pvcs.Informer(), pvs.Informer())
	if err != nil {
		return controller.Spec{}, err
	}
	r := &reconciler{env: env, claims: pvcs.Lister(), volumes: pvs.Lister(), classes: classes.Lister(), pods: pods.Informer().GetIndexer(), recyclers: map[string]recycler{}, counters: newCounters()}
	if err := r.counters.register(env.Metrics, pvs.Informer().GetStore().List, pvcs.Informer().GetStore().List); err != nil {
		return controller.Spec{}, err
	}
	return controller.Spec{
		Name: "persistentvolume", Reconcile: r.reconcile, Workers: 1,
		Watches: []controller.Watch{
			{Informer: pvs.Informer(), Keys: w.ofVolume},
			{Informer: pvcs.Informer(), Keys: w.ofClaim},
			{Informer: classes.Informer(), Keys: w.ofClass},
			{Informer: pods.Informer(), Keys: ofRecycler},
		},
	}, nil
}

func (r *reconciler) reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	if key.Namespace == "" {
		return r.reconcileVolume(ctx, key)
	}
	claim, ok, err := r.claim(key)
	if err != nil {
		return controller.Result{}, err
	}
	if !ok {
		r.counters.drop(key)
		return controller.Result{}, nil
	}
	if changed, dirty := ClaimDriver(claim); dirty {
		if claim, err = r.updateClaim(ctx, changed); err != nil {
			return controller.Result{}, err
		}
	}
	view, err := r.view(claim)
	if err != nil {
		return controller.Result{}, err
	}
	plan, problem := PlanClaim(view)
	if err := r.applyClaim(ctx, claim, plan); err != nil {
		return controller.Result{}, err
	}
	if problem != nil || plan.Bind != nil || metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBindCompleted) {
		return controller.Result{}, problem
	}
	return controller.Result{RequeueAfter: resync}, nil
}

func (r *reconciler) claim(key controller.Key) (*corev1.PersistentVolumeClaim, bool, error) {
	cached, err := r.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	return r.newestClaims.of(key, cached, err)
}

func (r *reconciler) volume(name string) (*corev1.PersistentVolume, bool, error) {
	cached, err := r.volumes.Get(name)
	return r.newestVolumes.of(controller.Key{Name: name}, cached, err)
}

// view gathers what the plan for the claim needs.
func (r *reconciler) view(claim *corev1.PersistentVolumeClaim) (ClaimView, error) {
	view := ClaimView{Claim: claim}
	var err error
	if claim.Spec.VolumeName != "" {
		var ok bool
		if view.Named, ok, err = r.volume(claim.Spec.VolumeName); !ok {
			view.Named = nil
		}
		return view, err
	}
	if metav1.HasAnnotation(claim.ObjectMeta, volumehelpers.AnnBindCompleted) {
		return view, nil
	}
	if view.Volumes, err = r.allVolumes(); err != nil {
		return view, err
	}
	if view.Class, err = r.class(volumehelpers.GetPersistentVolumeClaimClass(claim)); err != nil {
		return view, err
	}
	if !volumehelpers.PersistentVolumeClaimHasClass(claim) {
		classes, err := r.classes.List(labels.Everything())
		if err != nil {
			return view, fmt.Errorf("listing storage classes: %w", err)
		}
		view.Default = defaultclass.Of(classes)
	}
	view.Unscheduled, err = r.unscheduled(claim)
	return view, err
}

// allVolumes answers every volume as it is last known.
func (r *reconciler) allVolumes() ([]*corev1.PersistentVolume, error) {
	cached, err := r.volumes.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	all := make([]*corev1.PersistentVolume, 0, len(cached))
	for _, volume := range cached {
		newest, _, err := r.newestVolumes.of(controller.KeyOf(volume), volume, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, newest)
	}
	return all, nil
}

// class answers the class of that name, nil if there is none.
func (r *reconciler) class(name string) (*storagev1.StorageClass, error) {
	if name == "" {
		return nil, nil
	}
	class, err := r.classes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading storage class %s: %w", name, err)
	}
	return class, nil
}

func (r *reconciler) unscheduled(claim *corev1.PersistentVolumeClaim) ([]string, error) {
	pods, err := claims.Pods(r.pods, controller.KeyOf(claim))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, pod := range pods {
		if pod.Spec.NodeName == "" && !podset.Finished(pod) {
			names = append(names, pod.Name)
		}
	}
	return names, nil
}

func (r *reconciler) reconcileVolume(ctx context.Context, key controller.Key) (controller.Result, error) {
	volume, ok, err := r.volume(key.Name)
	if err != nil {
		return controller.Result{}, err
	}
	if !ok {
		delete(r.recyclers, key.Name)
		r.counters.end(key, nil, r.env.Clock.Now())
		return controller.Result{}, nil
	}
	if changed, dirty := VolumeDriver(volume); dirty {
		if volume, err = r.updateVolume(ctx, changed); err != nil {
			return controller.Result{}, err
		}
	}
	claim, err := r.claimOf(ctx, volume)
	if err != nil {
		return controller.Result{}, err
	}
	return r.applyVolume(ctx, volume, claim, PlanVolume(volume, claim))
}

// claimOf answers the claim that the volume is bound to, nil if that one is gone. Before a volume is released for
// want of its claim the API is asked: the cache may not have seen the claim yet.
func (r *reconciler) claimOf(ctx context.Context, volume *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	ref := volume.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return nil, nil
	}
	claim, ok, err := r.claim(controller.Key{Namespace: ref.Namespace, Name: ref.Name})
	if err != nil {
		return nil, err
	}
	if ok && claim.UID == ref.UID {
		return claim, nil
	}
	if !ok && (volume.Status.Phase == corev1.VolumeReleased || volume.Status.Phase == corev1.VolumeFailed) {
		return nil, nil
	}
	claim, err = r.env.Client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || (err == nil && claim.UID != ref.UID) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading claim %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	return claim, nil
}
