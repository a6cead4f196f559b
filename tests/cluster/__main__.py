"""A cluster for a person: `python -m tests.cluster up|down|list`."""

from __future__ import annotations

import argparse
import sys

from tests.cluster.binaries import BUILT
from tests.cluster.cluster import running, start_cluster
from tests.cluster.errors import ClusterError
from tests.cluster.place import Place, places
from tests.cluster.remains import end_cluster


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "list"))
    parser.add_argument("--name", default="dev", help="several can run side by side (default: dev)")
    parser.add_argument("--control-plane-only", action="store_true", help="no node, no root: the API and its controllers, on 127.0.0.1")
    arguments = parser.parse_args()
    place = Place(arguments.name)
    try:
        ACTIONS[arguments.action](place, arguments.control_plane_only)
    except ClusterError as error:
        sys.exit(f"tests.cluster: {error}")


def up(place: Place, control_plane_only: bool) -> None:
    if running(place):
        print(f"# cluster {place.name} is running already")
    else:
        end_cluster(place)
        start_cluster(place, "control-plane" if control_plane_only else "own")
    print(f"export KUBECONFIG={place.kubeconfig} PATH={BUILT}:$PATH")
    if place.netns.exists():
        print(f"# its network is a namespace of its own; a shell in it: nsenter --net={place.netns} bash")
    print(f"# to end it: python -m tests.cluster down --name {place.name}")


def down(place: Place, control_plane_only: bool) -> None:
    end_cluster(place)


def show(place: Place, control_plane_only: bool) -> None:
    for each in places():
        print(f"{each.name}\t{'running' if running(each) else 'not running'}\t{each.state}")


ACTIONS = {"up": up, "down": down, "list": show}

if __name__ == "__main__":
    main()
