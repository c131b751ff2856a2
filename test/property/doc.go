// Package property checks what must hold of the controllers of workloads whatever happens: random histories of changes,
// failing pods and silent nodes, while the manager of all controllers is killed at random writes, before or after they
// reached the server, and started again.
//
// A history has chapters (draw_test.go): a rollout that begins at rest, where rules are strict, and what disturbs it.
//
// A case notes every version of every object of its namespace in the order in which the server wrote them (log_test.go);
// the rules (rules_*_test.go) are pure functions over those notes. A seed that fails is printed with the history;
// -rapid.checks=N plays more of them, -rapid.seed=N one again.
package property
