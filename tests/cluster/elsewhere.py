"""Clusters that are not made here: one that somebody gives, and kind's. They get a state folder and an address for S3 and Prometheus."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from tests.cluster.errors import ClusterError, NotHere
from tests.cluster.place import Place

GIVEN = "DRAGOMAN_TEST_KUBECONFIG"
LOAD = "DRAGOMAN_TEST_LOAD_IMAGE"  # how a given cluster gets an image: a command with {archive} in it
KIND_NAME = "kind-cluster"  # in the state folder: the name by which kind knows the cluster


def take_given(place: Place) -> str:
    """Uses the cluster of DRAGOMAN_TEST_KUBECONFIG; gives the address at which its pods reach this machine.

    The machine must have routes to pods and Services, and the cluster to this machine.
    """
    shutil.copyfile(os.environ[GIVEN], place.kubeconfig)
    config = yaml.safe_load(place.kubeconfig.read_text(encoding="utf-8"))
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing: asks which of our addresses faces it
        probe.connect((server.hostname, server.port or 443))
        address: str = probe.getsockname()[0]
    return address


def load_into_given(place: Place, archive: Path) -> None:
    if LOAD not in os.environ:
        raise ClusterError(f"{GIVEN} is set: set {LOAD} too, to a command that loads an image, with {{archive}} in it")
    _run(*shlex.split(os.environ[LOAD].format(archive=archive)))


def kind_works() -> bool:
    """Whether kind is here, and a docker daemon on this machine that lets root into its containers' namespaces."""
    if not shutil.which("kind") or not shutil.which("docker") or os.geteuid() != 0:
        return False
    return subprocess.run(("docker", "info"), capture_output=True, check=False).returncode == 0


def start_kind(place: Place) -> str:
    """Starts a cluster of kind's and gives its node's address. Its namespace is the cluster's: Services are reached as in our own."""
    if not kind_works():
        raise NotHere("kind needs: kind, a docker daemon on this machine, root")
    name = f"dragoman-{place.name}"
    (place.state / KIND_NAME).write_text(name, encoding="utf-8")
    _run("kind", "create", "cluster", "--name", name, "--kubeconfig", str(place.state / "kind.kubeconfig"), "--wait", "120s")
    node = f"{name}-control-plane"
    process_id = _run("docker", "inspect", "-f", "{{.State.Pid}}", node).strip()
    place.netns.symlink_to(f"/proc/{process_id}/ns/net")
    config = _run("kind", "get", "kubeconfig", "--name", name)
    place.kubeconfig.touch(mode=0o600)
    place.kubeconfig.write_text(re.sub(r"server: \S+", "server: https://127.0.0.1:6443", config), encoding="utf-8")  # seen from the node
    return _run("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", node).strip()


def load_into_kind(place: Place, archive: Path) -> None:
    name = (place.state / KIND_NAME).read_text(encoding="utf-8")
    _run("kind", "load", "image-archive", str(archive), "--name", name)


def end_kind(place: Place) -> None:
    """Nothing to do where the cluster is not kind's."""
    marker = place.state / KIND_NAME
    if marker.exists():
        subprocess.run(("kind", "delete", "cluster", "--name", marker.read_text(encoding="utf-8")), capture_output=True, check=False)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
