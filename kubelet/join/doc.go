// Package join makes a host a node of a cluster: it comes to trust the cluster's certificate authority by the pin in a
// token, gets certificates by CertificateSigningRequests, and renews them.
//
//	token ── TLS, the authority's key hashes to the pin ──> ca.crt
//	      ── bootstrap token: CSR system:node:NAME ──────> kubelet.pem   the kubelet's identity
//	kubelet.pem ── CSR skiff:agent:NAME ─────────────────> agent.pem     proxy, policies, DNS and local volumes
//	            ── CSR with the node's addresses ────────> serving.pem   the kubelet's endpoint
//
// Each file holds a certificate and its key, and is replaced in one step. Once kubelet.pem is there the token is not
// needed any more. All are renewed when a fifth of their life is left.
package join
