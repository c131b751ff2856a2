package sides

import (
	"path/filepath"

	"skiff/config/pki"
)

// etcdFlags are kubeadm's for a stacked member; ports are for clients, peers and metrics.
func etcdFlags(files *pki.PKI, dir string, ports []string) []string {
	client, peer := "https://127.0.0.1:"+ports[0], "https://127.0.0.1:"+ports[1]
	cert, key, ca := files.File("apiserver.crt"), files.File("apiserver.key"), files.File("ca.crt")
	return []string{
		"--name=bench", "--data-dir=" + dir,
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=bench=" + peer,
		"--cert-file=" + cert, "--key-file=" + key, "--trusted-ca-file=" + ca, "--client-cert-auth=true",
		"--peer-cert-file=" + cert, "--peer-key-file=" + key, "--peer-trusted-ca-file=" + ca, "--peer-client-cert-auth=true",
		"--snapshot-count=10000", "--listen-metrics-urls=http://127.0.0.1:" + ports[2],
		"--feature-gates=InitialCorruptCheck=true", "--watch-progress-notify-interval=5s",
	}
}

// apiserverFlags are kubeadm's, except for the addresses.
func apiserverFlags(files *pki.PKI, port, etcd string) []string {
	return []string{
		"--advertise-address=" + advertised, "--bind-address=127.0.0.1", "--secure-port=" + port,
		"--allow-privileged=true", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth=true", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + files.File("sa.key"), "--service-account-signing-key-file=" + files.File("sa.key"),
		"--client-ca-file=" + files.File("ca.crt"),
		"--tls-cert-file=" + files.File("apiserver.crt"), "--tls-private-key-file=" + files.File("apiserver.key"),
		"--kubelet-client-certificate=" + files.File("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + files.File("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--requestheader-client-ca-file=" + files.File("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + files.File("front-proxy-client.crt"), "--proxy-client-key-file=" + files.File("front-proxy-client.key"),
		"--etcd-servers=https://127.0.0.1:" + etcd, "--etcd-cafile=" + files.File("ca.crt"),
		"--etcd-certfile=" + files.File("apiserver-kubelet-client.crt"), "--etcd-keyfile=" + files.File("apiserver-kubelet-client.key"),
	}
}

// managerFlags are kubeadm's, except for the address.
func managerFlags(api *Side, port string) []string {
	file := func(name string) string { return filepath.Join(api.PKI, name) }
	return []string{
		"--allocate-node-cidrs=true", "--cluster-cidr=10.244.0.0/16", "--service-cluster-ip-range=10.96.0.0/16", "--cluster-name=kubernetes",
		"--authentication-kubeconfig=" + api.Kubeconfig, "--authorization-kubeconfig=" + api.Kubeconfig, "--kubeconfig=" + api.Kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + port,
		"--client-ca-file=" + file("ca.crt"), "--requestheader-client-ca-file=" + file("front-proxy-ca.crt"), "--root-ca-file=" + file("ca.crt"),
		"--cluster-signing-cert-file=" + file("ca.crt"), "--cluster-signing-key-file=" + file("ca.key"),
		"--service-account-private-key-file=" + file("sa.key"), "--use-service-account-credentials=true",
		"--controllers=*,bootstrapsigner,tokencleaner", "--leader-elect=true",
	}
}

// schedulerFlags are kubeadm's, except for the address.
func schedulerFlags(kubeconfig, port string) []string {
	return []string{
		"--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig, "--kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=" + port, "--leader-elect=true",
	}
}
