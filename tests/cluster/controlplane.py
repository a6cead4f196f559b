"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

With a network namespace: on the node's address, for pods to reach. Without one: on the loopback address and free ports, as any user.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from tests.cluster.binaries import ETCD, built
from tests.cluster.network import API_ADDRESS, LOOPBACK, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE, in_namespace
from tests.cluster.pki import Authority, Signed, kubeconfig, service_account_key
from tests.cluster.place import Place
from tests.cluster.process import await_ready, start

API_SERVER = "kube-apiserver"
CONTROLLERS = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
FRONT_PROXY = "front-proxy-client"


@dataclass(frozen=True)
class Endpoint:
    """Where the control plane listens."""

    address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.api_port}"


@dataclass(frozen=True)
class ControlPlane:
    endpoint: Endpoint
    authority: Authority
    admin: Signed

    def kubeconfig(self, user: Signed) -> str:
        return kubeconfig(self.endpoint.url, self.authority.certificate, user)


def start_control_plane(place: Place, *, scheduler: bool) -> ControlPlane:
    """Starts it and waits until the API answers; `place.kubeconfig` is then the administrator's."""
    endpoint = _endpoint(place)
    authority = Authority()
    pki = place.state / "pki"
    pki.mkdir(mode=0o700)
    admin = authority.sign("admin", groups=["system:masters"])
    names = (endpoint.address, LOOPBACK, API_ADDRESS, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    authority.sign("kube-apiserver", names=names).write(pki, "apiserver")
    admin.write(pki, "admin")
    authority.sign(FRONT_PROXY).write(pki, FRONT_PROXY)
    (pki / "ca.crt").write_bytes(authority.certificate)
    private, public = service_account_key()
    (pki / "service-accounts.key").write_bytes(private)
    (pki / "service-accounts.pub").write_bytes(public)
    plane = ControlPlane(endpoint, authority, admin)
    place.kubeconfig.touch(mode=0o600)
    place.kubeconfig.write_text(plane.kubeconfig(admin), encoding="utf-8")

    start(place, "etcd", _etcd(place, endpoint))
    server = start(place, API_SERVER, _api_server(pki, endpoint))
    await_ready(server, lambda: is_ready(place, endpoint.address, endpoint.api_port), place)
    start(place, CONTROLLERS, _controllers(place, pki))
    if scheduler:
        start(place, SCHEDULER, [built(SCHEDULER), f"--kubeconfig={place.kubeconfig}", "--leader-elect=false", "--secure-port=0"])
    return plane


def is_ready(place: Place, address: str, port: int) -> bool:
    """Whether an API server answers /readyz with 200."""
    context = ssl.create_default_context(cafile=str(place.state / "pki" / "ca.crt"))

    def ask() -> bool:
        connection = HTTPSConnection(address, port, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    with in_namespace(place):
        return ask()


def _endpoint(place: Place) -> Endpoint:
    if place.netns.exists():
        return Endpoint(NODE_ADDRESS, 6443, 2379, 2380)
    with ExitStack() as open_together:  # so that the ports differ
        sockets = [open_together.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(3)]
        return Endpoint(LOOPBACK, *(each.getsockname()[1] for each in sockets))


def _etcd(place: Place, endpoint: Endpoint) -> Sequence[str | Path]:
    clients, peers = f"http://{LOOPBACK}:{endpoint.etcd_port}", f"http://{LOOPBACK}:{endpoint.etcd_peer_port}"
    return [
        built(ETCD),
        f"--data-dir={place.state / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",  # what it holds ends with the cluster
        "--log-level=warn",
    ]


def _api_server(pki: Path, endpoint: Endpoint) -> Sequence[str | Path]:
    return [
        built(API_SERVER),
        f"--etcd-servers=http://{LOOPBACK}:{endpoint.etcd_port}",
        f"--bind-address={endpoint.address}",
        f"--advertise-address={endpoint.address}",
        f"--secure-port={endpoint.api_port}",
        # a loopback address is no endpoint for the Service `kubernetes`; without pods nobody looks for one
        f"--endpoint-reconciler-type={'none' if endpoint.address == LOOPBACK else 'lease'}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        "--kubelet-preferred-address-types=InternalIP",  # the node's name resolves nowhere: logs and exec would fail
        "--shutdown-delay-duration=0s",
        # for APIs that other servers add, as metrics-server does
        f"--proxy-client-cert-file={pki / FRONT_PROXY}.crt",
        f"--proxy-client-key-file={pki / FRONT_PROXY}.key",
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ]


def _controllers(place: Place, pki: Path) -> Sequence[str | Path]:
    return [
        built(CONTROLLERS),
        f"--kubeconfig={place.kubeconfig}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-cidr={POD_RANGE}",
        "--allocate-node-cidrs=true",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--secure-port=0",
        "--horizontal-pod-autoscaler-sync-period=5s",
    ]
