"""A running cluster as pytest fixtures. One serves the whole session; each test gets a namespace of its own.

A test that uses `cluster` runs inside the cluster's network: its clients reach pods and Services by address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest
from tests.cluster.cluster import Cluster
from tests.cluster.cluster import cluster as running_cluster
from tests.cluster.cluster import control_plane as running_control_plane
from tests.cluster.errors import NotHere
from tests.cluster.images import BASE_IMAGE, base_archive
from tests.cluster.installed import Release, Store, enter_storage, install
from tests.cluster.network import OWN, enter_namespace, in_network_of, namespace_kept
from tests.cluster.operating import Models
from tests.cluster.own_images import operator_archive, runtime_archive
from tests.cluster.prometheus import Prometheus
from tests.cluster.s3 import S3

RUNNING = pytest.StashKey[dict[str, Cluster]]()  # by the name of their fixture
OUTSIDE = pytest.StashKey[int]()  # the network in which pytest was started: images are made there, as packages are downloaded
CI = os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTSIDE] = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A Kubernetes with one node."""
    with ExitStack() as until_the_end:
        try:
            started = until_the_end.enter_context(running_cluster())
        except NotHere as absent:
            (pytest.fail if CI else pytest.skip)(str(absent))
        _running(pytestconfig)["cluster"] = started
        enter_namespace(started.place)  # for the rest of this test: the hook below comes too early for the first one
        yield started
        del _running(pytestconfig)["cluster"]


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """The API and its controllers on 127.0.0.1, without a node; not for a test that uses `cluster`."""
    with ExitStack() as until_the_end:
        try:
            started = until_the_end.enter_context(running_control_plane())
        except NotHere as absent:
            (pytest.fail if CI else pytest.skip)(str(absent))
        _running(pytestconfig)["control_plane"] = started
        yield started
        del _running(pytestconfig)["control_plane"]


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of this test's own, which enforces the restricted Pod Security Standard."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))[:40].strip("-")
    cluster.make_namespace(name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def s3(cluster: Cluster) -> S3:
    """A real S3 server that pods reach, without buckets; it ends with the cluster."""
    return cluster.start_s3()


@pytest.fixture(scope="session")
def prometheus(cluster: Cluster) -> Iterator[Prometheus]:
    """A real Prometheus that scrapes the pods whose annotations say so, once a second."""
    try:
        yield cluster.start_prometheus()
    finally:
        cluster.stop_prometheus()


@pytest.fixture(scope="session")
def base_image(cluster: Cluster, pytestconfig: pytest.Config) -> str:
    """An image with Debian's Python, loaded into the node."""
    with in_network_of(pytestconfig.stash[OUTSIDE]):
        archive = base_archive()
    cluster.load_image(archive)
    return BASE_IMAGE


@pytest.fixture(scope="session")
def images(cluster: Cluster, pytestconfig: pytest.Config) -> None:
    """The runtime's and the operator's, built from the Dockerfiles when something that goes into them has changed, in the node."""
    with in_network_of(pytestconfig.stash[OUTSIDE]):
        archives = (runtime_archive(), operator_archive())
    for archive in archives:
        cluster.load_image(archive)


@pytest.fixture(scope="session")
def release(cluster: Cluster, images: None) -> Release:
    """Dragoman, installed by helm from the chart; one for the whole session."""
    return install(cluster)


@pytest.fixture(scope="session")
def store(s3: S3) -> Store:
    """The bucket `models`."""
    return Store(s3.bucket("models"))


@pytest.fixture
def models(release: Release, namespace: str, s3: S3) -> Models:
    """ModelDeployments of a namespace of this test's own, in which a Secret for the S3 server lies."""
    enter_storage(release.cluster, namespace, s3)
    return Models(release.cluster, namespace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that uses `cluster` is inside its network, from the first fixture to the last if it runs already."""
    names = _fixtures(item)
    assert not {"cluster", "control_plane"} <= names, f"{item.name}: 127.0.0.1, where control_plane is, is not the cluster's"
    with namespace_kept():
        if "cluster" in names & _running(item.config).keys():
            enter_namespace(_running(item.config)["cluster"].place)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keeps all logs of a test that failed; in CI, a skipped test has failed."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"CI allows no skip in tests/cluster: {report.longrepr}"
    if report.failed:
        for name in sorted(_fixtures(item) & _running(item.config).keys()):
            folder = _running(item.config)[name].keep_logs(f"{item.name}-{report.when}-{name}")
            report.sections.append((f"logs of {name}", str(folder)))
    return report


def _running(config: pytest.Config) -> dict[str, Cluster]:
    return config.stash.setdefault(RUNNING, {})


def _fixtures(item: pytest.Item) -> set[str]:
    return set(item.fixturenames) if isinstance(item, pytest.Function) else set()
