"""A cluster for a person, or for work on the operator: `python -m tests.cluster up`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cluster.binaries import BUILT
from tests.cluster.cluster import ORIGINS, Cluster, running, start_cluster
from tests.cluster.errors import ClusterError
from tests.cluster.images import stored_base
from tests.cluster.network import NODE_ADDRESS
from tests.cluster.node import load_image
from tests.cluster.place import Place, places
from tests.cluster.prometheus import Prometheus
from tests.cluster.remains import end_cluster
from tests.cluster.s3 import s3_of


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="|".join(ACTIONS))
    for name, action in ACTIONS.items():
        of_action = actions.add_parser(name, help=action.__doc__, description=action.__doc__)
        of_action.set_defaults(action=action)
        of_action.add_argument("--name", default="dev", help="several can run side by side (default: dev)")
        if action is up:
            of_action.add_argument("--control-plane-only", action="store_true", help="no node and no root: the API, on 127.0.0.1")
        if action is load:
            of_action.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    arguments = parser.parse_args()
    try:
        arguments.action(Place(arguments.name), arguments)
    except (ClusterError, ValueError) as error:
        sys.exit(f"tests.cluster: {error}")


def up(place: Place, arguments: argparse.Namespace) -> None:
    """Start a cluster that stays, with an S3 server and a Prometheus beside its node, and print how to reach it."""
    if running(place):
        print(f"# cluster {place.name} is running already")
    else:
        end_cluster(place)
        cluster = start_cluster(place, "control-plane" if arguments.control_plane_only else "own")
        if not arguments.control_plane_only:
            _start_servers(cluster)
    if place.netns.exists():
        s3 = s3_of(place, NODE_ADDRESS)
        print(f"# S3, for pods too: {' '.join(f'{name}={value}' for name, value in s3.env.items())}")
        print(f"#   a bucket is a folder in {s3.folder}, an object a file in it")
        print(f"# Prometheus, scraping pods whose annotations say so: {Prometheus(place, NODE_ADDRESS).url}")
    if place.netns.exists():
        print("# all of it is in a network of its own: go there with")
        print(f"nsenter --net={place.netns} bash")
        print("# and there")
    print(f"export KUBECONFIG={place.kubeconfig} PATH={BUILT}:$PATH")
    print(f"# to end it: {'make cluster-down' if place.name == 'dev' else f'python -m tests.cluster down --name {place.name}'}")


def _start_servers(cluster: Cluster) -> None:
    try:
        cluster.start_s3()
        cluster.start_prometheus()
    except BaseException:
        end_cluster(cluster.place)
        raise


def down(place: Place, arguments: argparse.Namespace) -> None:
    """End a cluster and remove all that it left."""
    end_cluster(place)


def show(place: Place, arguments: argparse.Namespace) -> None:
    """List the clusters of this machine."""
    for each in places():
        print(f"{each.name}\t{'running' if running(each) else 'not running'}\t{each.state}")


def load(place: Place, arguments: argparse.Namespace) -> None:
    """Load images, as OCI archives, into the node of a cluster of our own."""
    for archive in arguments.archives:
        load_image(place, archive)


def base_image(place: Place, arguments: argparse.Namespace) -> None:
    """Make Debian with its Python as an image in buildah's storage, and print its name."""
    ORIGINS["own"].check()
    print(stored_base())


ACTIONS: dict[str, Callable[[Place, argparse.Namespace], None]] = {
    "up": up,
    "down": down,
    "list": show,
    "load": load,
    "base-image": base_image,
}

if __name__ == "__main__":
    main()
