// Package golden holds recorded answers of kube-apiserver v1.37.2 and the tests
// that ask an in-process server the same questions.
//
// testdata/cases has a file a kind (JSON lines, compressed). Its first line
// names base objects, every further line is a request (a base and a JSON patch)
// with the recorded answer. All cases are dry runs, so they don't disturb each
// other; an update finds its base stored. testdata/prereq.json must exist first.
//
// testdata/levels.txt is the level reached: how many cases of a kind may
// disagree. Work on disagreements with
//
//	GOLDEN_SHOW='v1.Pod$:20' go test -count=1 -run TestReplay ./test/golden
//
// which replays the matching kinds only and prints their first disagreements,
// and keep a better level with GOLDEN_UPDATE=1. GOLDEN_CASES names another
// folder of case files.
package golden
