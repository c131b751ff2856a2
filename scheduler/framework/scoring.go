package framework

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// parallelFrom is the number of nodes below which splitting the work costs more than it saves.
const parallelFrom = 64

// DefaultParallelism is how many goroutines share the work on one pod at most.
const DefaultParallelism = 16

// Parallel calls fn on consecutive ranges that together cover 0..n, and returns when all have ended.
func (c *Cycle) Parallel(n int, fn func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), c.Parallelism, n/(parallelFrom/2))
	if workers < 2 {
		fn(0, n)
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { fn(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}

// Score rates the nodes with all Score plugins and answers the weighted sums, in the order of nodes. The result is
// valid until the next call.
func (f *Framework) Score(ctx context.Context, c *Cycle, nodes []*NodeInfo) (_ []NodeScore, status *Status) {
	if s := f.prepareScores(ctx, c, nodes); !s.IsSuccess() {
		return nil, s
	}
	defer f.ran(ranScore, time.Now(), &status)
	active := f.activeScorers(c)
	f.scratch = slices.Grow(f.scratch[:0], (len(active)+1)*len(nodes))[:(len(active)+1)*len(nodes)]
	totals, raw := f.scratch[:len(nodes)], f.scratch[len(nodes):]
	f.sampleScores(ctx, c, active, nodes)
	if s := scoreAll(ctx, c, active, nodes, raw); !s.IsSuccess() {
		return nil, s
	}
	for i, node := range nodes {
		totals[i] = NodeScore{Node: node}
	}
	for k, p := range active {
		scores := raw[k*len(nodes) : (k+1)*len(nodes)]
		if p.normalize != nil {
			call := f.call(c, p.Score, ranNormalize)
			s := p.normalize.NormalizeScore(ctx, c, scores)
			if call.done(s); !s.IsSuccess() {
				return nil, s.WithPlugin(p.Name())
			}
		}
		for i := range scores {
			if scores[i].Score < 0 || scores[i].Score > MaxNodeScore {
				return nil, AsStatus(fmt.Errorf("plugin %s gave node %s the score %d, outside 0..%d",
					p.Name(), nodes[i].Name(), scores[i].Score, MaxNodeScore))
			}
			totals[i].Score += p.weight * scores[i].Score
		}
	}
	return totals, nil
}

// prepareScores runs the PreScore plugins; those that skip don't score.
func (f *Framework) prepareScores(ctx context.Context, c *Cycle, nodes []*NodeInfo) (status *Status) {
	defer f.ran(ranPreScore, time.Now(), &status)
	for _, p := range f.preScore {
		call := f.call(c, p.PreScore, ranPreScore)
		s := p.PreScore.PreScore(ctx, c, nodes)
		call.done(s)
		p.count(1)
		switch {
		case s.IsSkip():
			if p.score >= 0 {
				c.noScore |= 1 << p.score
			}
		case !s.IsSuccess():
			return s.WithPlugin(p.Name())
		}
	}
	return nil
}

// sampleScores counts the plugins' calls and times each on one node.
func (f *Framework) sampleScores(ctx context.Context, c *Cycle, active []scorer, nodes []*NodeInfo) {
	for _, p := range active {
		p.count(len(nodes))
		if c.Sampled && len(nodes) > 0 {
			call := f.call(c, p.Score, ranScore)
			_, s := p.Score.Score(ctx, c, nodes[0])
			call.done(s)
		}
	}
}

func (f *Framework) activeScorers(c *Cycle) []scorer {
	active := make([]scorer, 0, len(f.scorers))
	for i, p := range f.scorers {
		if c.noScore&(1<<i) == 0 {
			active = append(active, p)
		}
	}
	return active
}

// scoreAll fills raw, one run of len(nodes) after the other per scorer.
func scoreAll(ctx context.Context, c *Cycle, active []scorer, nodes []*NodeInfo, raw []NodeScore) *Status {
	var failed atomic.Pointer[Status]
	c.Parallel(len(nodes), func(from, to int) {
		for k, p := range active {
			for i := from; i < to; i++ {
				score, s := p.Score.Score(ctx, c, nodes[i])
				if !s.IsSuccess() {
					failed.CompareAndSwap(nil, s.WithPlugin(p.Name()))
					return
				}
				raw[k*len(nodes)+i] = NodeScore{Node: nodes[i], Score: score}
			}
		}
	})
	return failed.Load()
}
