"""The node: containerd, kubelet, kube-proxy and CoreDNS, in the cluster's namespace and cgroup, their files in its state folder."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.cluster import cgroup
from tests.cluster.binaries import built, debian
from tests.cluster.controlplane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.images import PAUSE_IMAGE, pause_archive
from tests.cluster.network import NODE_ADDRESS, POD_RANGE, in_namespace
from tests.cluster.place import Place
from tests.cluster.process import Process, await_ready, inside, start

NODE = "node0"
POD_SUBNET = "10.244.0.0/24"
CLUSTER_DOMAIN = "cluster.local"


def start_node(place: Place, plane: ControlPlane) -> None:
    """Starts the node and waits until it is Ready."""
    pki = place.state / "pki"
    plane.authority.sign(f"system:node:{NODE}", groups=["system:nodes"], names=[NODE_ADDRESS, NODE]).write(pki, "kubelet")
    for name, user, groups in (("kubelet", f"system:node:{NODE}", ["system:nodes"]), ("kube-proxy", "system:kube-proxy", [])):
        file = pki / f"{name}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(plane.kubeconfig(plane.authority.sign(user, groups=groups)), encoding="utf-8")

    cgroup.make_cgroup(place)
    _start_containerd(place)
    load_image(place, pause_archive())
    kubelet = _start_kubelet(place, pki)
    proxy = start(place, "kube-proxy", _proxy_command(pki))
    cgroup.adopt(place, proxy)
    _start_dns(place)
    await_ready(kubelet, lambda: _node_is_ready(place), place, pause_seconds=0.3)


def load_image(place: Place, archive: Path) -> None:
    """Puts an OCI archive's images into the node, under the names that the archive gives them."""
    ctr = (debian("ctr"), f"--address={_socket(place)}", "--namespace=k8s.io")
    done = subprocess.run((*ctr, "images", "import", archive), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{archive} could not be loaded into the node: {done.stderr.strip()}")


def _start_containerd(place: Place) -> None:
    state = place.state
    (state / "containerd").mkdir()
    # images are ten thousands of files, which a disk takes seconds to write and to remove; what pods write themselves is kubelet's, on disk
    subprocess.run((debian("mount"), "-t", "tmpfs", "-o", "mode=0711", "tmpfs", state / "containerd"), check=True)
    (state / "cni").mkdir()
    (state / "cni" / "10-bridge.conflist").write_text(json.dumps(_pod_network(place)), encoding="utf-8")
    (state / "containerd.toml").write_text(_containerd_settings(place), encoding="utf-8")
    process = start(place, "containerd", [debian("containerd"), f"--config={state / 'containerd.toml'}"])
    cgroup.adopt(place, process)
    await_ready(process, lambda: _accepts(_socket(place)), place)


def _pod_network(place: Place) -> dict[str, Any]:
    return {
        "cniVersion": "0.4.0",
        "name": place.cgroup,  # CNI's own records carry it, and are found by it at the end
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,  # a pod reaches itself through its Service
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(place.state / "cni-addresses"),
                    "ranges": [[{"subnet": POD_SUBNET}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _containerd_settings(place: Place) -> str:
    state = place.state
    return dedent(f"""\
        version = 2
        root = "{state}/containerd/root"
        state = "{state}/containerd/state"
        [grpc]
          address = "{_socket(place)}"
        [plugins."io.containerd.internal.v1.opt"]
          path = "{state}/containerd/opt"
        [plugins."io.containerd.grpc.v1.cri"]
          sandbox_image = "{PAUSE_IMAGE}"
          restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE runc could not lower it, and no container would start
          netns_mounts_under_state_dir = true
          [plugins."io.containerd.grpc.v1.cri".containerd]
            snapshotter = "overlayfs"
            default_runtime_name = "runc"
            [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
              runtime_type = "io.containerd.runc.v2"
              [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
                Root = "{state}/containerd/runc"
          [plugins."io.containerd.grpc.v1.cri".cni]
            bin_dir = "/usr/lib/cni"
            conf_dir = "{state}/cni"
        """)


def _start_kubelet(place: Place, pki: Path) -> Process:
    state = place.state
    (state / "resolv.conf").touch()  # the node knows no names, so pods ask CoreDNS only
    (state / "kubelet.json").write_text(json.dumps(_kubelet_settings(place, pki)), encoding="utf-8")
    command: list[str | Path] = [
        built("kubelet"),
        f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
        f"--config={state / 'kubelet.json'}",
        f"--root-dir={state / 'kubelet'}",
        f"--cert-dir={pki}",
        f"--node-ip={NODE_ADDRESS}",
        f"--hostname-override={NODE}",
        "--v=2",
    ]
    kubelet = start(place, "kubelet", command)
    cgroup.adopt(place, kubelet)
    return kubelet


def _kubelet_settings(place: Place, pki: Path) -> dict[str, Any]:
    state = place.state
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "address": NODE_ADDRESS,
        "healthzBindAddress": NODE_ADDRESS,
        "containerRuntimeEndpoint": f"unix://{_socket(place)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{place.cgroup}",  # another kubelet's pods, or another cluster's, would be taken for orphans
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(state / "resolv.conf"),
        "podLogsDir": str(state / "pod-logs"),
        "volumePluginDir": str(state / "volume-plugins"),
        "imageGCHighThresholdPercent": 100,  # the images come from nowhere else
        "evictionHard": {"memory.available": "100Mi"},
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "maxPods": 250,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    }


def _proxy_command(pki: Path) -> list[str | Path]:
    return [
        built("kube-proxy"),
        f"--kubeconfig={pki / 'kube-proxy.kubeconfig'}",
        f"--hostname-override={NODE}",
        f"--cluster-cidr={POD_RANGE}",
        "--proxy-mode=iptables",
        "--conntrack-max-per-core=0",  # the machine's own setting, which a namespace cannot change
        f"--healthz-bind-address={NODE_ADDRESS}:10256",
        "--iptables-min-sync-period=0s",
    ]


def _start_dns(place: Place) -> None:
    settings = dedent(f"""\
        .:53 {{
          bind {NODE_ADDRESS}
          errors
          kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
            kubeconfig {place.kubeconfig}
            pods insecure
            ttl 1
          }}
        }}
        """)
    (place.state / "Corefile").write_text(settings, encoding="utf-8")
    process = start(place, "coredns", [built("coredns"), f"-conf={place.state / 'Corefile'}"])
    cgroup.adopt(place, process)

    def answers() -> bool:
        with in_namespace(place):
            try:
                socket.create_connection((NODE_ADDRESS, 53), timeout=1).close()
            except OSError:
                return False
        return True

    await_ready(process, answers, place)


def _node_is_ready(place: Place) -> bool:
    condition = '{.status.conditions[?(@.type=="Ready")].status}'
    command = (
        *inside(place),
        str(built("kubectl")),
        f"--kubeconfig={place.kubeconfig}",
        "get",
        "node",
        NODE,
        "-o",
        f"jsonpath={condition}",
    )
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "True"


def _socket(place: Place) -> Path:
    return place.state / "containerd" / "sock"


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
