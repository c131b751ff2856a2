package queue

import "container/heap"

// podHeap is a heap of pods that know their place in it.
type podHeap struct {
	pods []*Pod
	less func(a, b *Pod) bool
}

func (h *podHeap) push(p *Pod)   { heap.Push((*heapItems)(h), p) }
func (h *podHeap) remove(p *Pod) { heap.Remove((*heapItems)(h), p.index) }
func (h *podHeap) fix(p *Pod)    { heap.Fix((*heapItems)(h), p.index) }

func (h *podHeap) first() *Pod {
	if len(h.pods) == 0 {
		return nil
	}
	return h.pods[0]
}

// heapItems keeps container/heap's methods off podHeap.
type heapItems podHeap

func (h *heapItems) Len() int           { return len(h.pods) }
func (h *heapItems) Less(i, j int) bool { return h.less(h.pods[i], h.pods[j]) }

func (h *heapItems) Swap(i, j int) {
	h.pods[i], h.pods[j] = h.pods[j], h.pods[i]
	h.pods[i].index, h.pods[j].index = i, j
}

func (h *heapItems) Push(x any) {
	p := x.(*Pod)
	p.index = len(h.pods)
	h.pods = append(h.pods, p)
}

func (h *heapItems) Pop() any {
	last := len(h.pods) - 1
	p := h.pods[last]
	h.pods[last] = nil
	h.pods = h.pods[:last]
	return p
}
