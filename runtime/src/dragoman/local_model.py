"""One model, fetched and loaded in this process: for commands that end by themselves. A server's processes are the supervisor's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dragoman.errors import InvalidSpec
from dragoman.manifest import ModelDeployment
from dragoman.messages import Load
from dragoman.settings import Settings
from dragoman.storage.digest import digest_of
from dragoman.storage.request import Fetched, Request
from dragoman.storage.uri import parse
from dragoman.terminal import fetching

if TYPE_CHECKING:  # what only fetches needs no numpy
    from dragoman.formats import LoadedModel


def only(manifests: Sequence[ModelDeployment], name: str | None) -> ModelDeployment:
    """The one that is meant. `InvalidSpec` where there are several and none, or an unknown one, is named."""
    names = ", ".join(m.name for m in manifests)
    if name is None:
        if len(manifests) > 1:
            raise InvalidSpec(f"there are {len(manifests)} models: {names}: say which with --model")
        return manifests[0]
    found = next((m for m in manifests if m.name == name), None)
    if found is None:
        raise InvalidSpec(f"--model {name}: there is no such model; there are: {names}")
    return found


def fetched_model(manifest: ModelDeployment, settings: Settings, *, pinned: bool = True) -> Fetched:
    """The model in the cache, checked against its pin (unless not `pinned`), with a bar on a terminal. Raises `ServeError`."""
    from dragoman.storage.fetch import fetch

    model = manifest.spec.model
    request = Request.of(
        model.uri,
        options=model.storage.options,
        digest=model.digest if pinned else None,
        cache=settings.cache_dir,
        cache_bytes=settings.cache_bytes,
    )
    with fetching(model.uri) as on_event:
        return fetch(request, on_event)


def digest_of_model(manifest: ModelDeployment, settings: Settings) -> str:
    """`sha256:…` of what is there now, whatever the manifest pins. A local model is read where it is. Raises `ServeError`."""
    location = parse(manifest.spec.model.uri)
    if location.local:
        return digest_of(location.path)
    return fetched_model(manifest, settings, pinned=False).digest


def loaded_model(manifest: ModelDeployment, fetched: Fetched, settings: Settings) -> LoadedModel:
    """The model, loaded, with all of this machine's threads to predict with. Raises `ServeError`."""
    from dragoman.loader import set_threads

    set_threads(settings.workers)
    from dragoman.loading import load_model

    return load_model(load_of(manifest, fetched), manifest, settings)


def load_of(manifest: ModelDeployment, fetched: Fetched) -> Load:
    return Load(model=manifest.name, path=str(fetched.path), name=fetched.name, digest=fetched.digest)
