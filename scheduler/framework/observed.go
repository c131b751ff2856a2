package framework

import "k8s.io/client-go/tools/cache"

// Handler turns a function of before and after (nil: was not, is no more) into an informer's handler. Deletions that were
// missed are told as well.
func Handler[T any](changed func(before, after *T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { changed(nil, as[T](object)) },
		UpdateFunc: func(before, after any) { changed(as[T](before), as[T](after)) },
		DeleteFunc: func(object any) {
			if gone := as[T](object); gone != nil {
				changed(gone, nil)
			}
		},
	}
}

// as unwraps an object, also from the tombstone of a deletion that was missed.
func as[T any](object any) *T {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	typed, _ := object.(*T)
	return typed
}

// ChangeOf is the change of a resource from before to after (nil: was not, is no more); events are labelled with its name.
func ChangeOf[T any](resource EventResource, name string, before, after *T) Change {
	change := Change{Event: ClusterEvent{Resource: resource, Action: UpdateOther, Label: name + "Update"}}
	if before != nil {
		change.Old = before
	} else {
		change.Event.Action, change.Event.Label = Add, name+"Add"
	}
	if after != nil {
		change.New = after
	} else {
		change.Event.Action, change.Event.Label = Delete, name+"Delete"
	}
	return change
}
