// Package framework is the contract between the scheduling loop and its plugins: the extension points, the status a
// plugin answers with, and the immutable views (PodInfo, NodeInfo, Snapshot) plugins decide on.
//
// Names and meaning follow k8s.io/kube-scheduler/framework. Two things differ on purpose. Every view is immutable, so a
// snapshot is shared with the cache instead of copied. And what upstream passes as separate arguments (pod, state,
// snapshot) travels as one *Cycle, the state of one attempt to place one pod.
//
//	Pop -> PreFilter -> Filter -> (PostFilter) -> PreScore -> Score -> NormalizeScore -> Reserve -> Permit  (one at a time)
//	                                                                 PreBind -> Bind -> PostBind          (many at a time)
package framework
