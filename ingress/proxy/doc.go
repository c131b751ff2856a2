// Package proxy serves HTTP for an Ingress: it takes requests at listeners, finds out from a route.Table where they go,
// and passes them on.
//
// A table is replaced at any time; requests that are on their way keep the one that they were routed with, and
// connections stay. HTTP/1.1 and HTTP/2 are spoken to clients (the latter without TLS too, to those that know), HTTP/1.1,
// TLS and HTTP/2 without TLS to backends. Bodies are streamed both ways: there is no limit on how long one takes as long as
// it progresses.
//
// Clients cost what they are given time for. A header must come within Config.HeaderTimeout, a connection may idle for
// Config.IdleTimeout, and a body that doesn't progress for Config.StallTimeout ends. Each listener holds
// Config.Connections at most; one more puts an end to the one that has waited for its client the longest, so that neither
// idle nor slow clients keep others out.
//
//	no route: 404 · body too long: 413 · no endpoints: 503 · backend failed: 502 · backend too slow: 504 · client too slow: 408
package proxy
