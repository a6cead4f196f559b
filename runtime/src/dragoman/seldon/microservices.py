"""One-line servers: a saved recommender, or a saved pipeline, behind Seldon's microservice API."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dragoman.dialect_options import Dialects, Seldon
from dragoman.errors import AddressInUse, InvalidSpec
from dragoman.manifest import ModelDeployment, Serving, from_uri
from dragoman.memcached_options import Memcached
from dragoman.settings import Settings
from dragoman.startup import name_of

TIMEOUT_SECONDS = 0.5
_FLAG = re.compile(r"--([a-z-]+)")  # as messages name a setting; here it is a parameter

logger = logging.getLogger("dragoman")


@dataclass(frozen=True)
class Microservice:
    """A server that is ready to run; `dragoman serve` with this manifest is the same."""

    manifest: ModelDeployment

    def run(
        self, host: str = "127.0.0.1", port: int = 5000, debug: bool = False, *, grpc_port: int = 9000, management_port: int = 9090
    ) -> int:
        """Serves until told to stop, and gives 0. It must be called in the main thread. `debug`: more is logged.

        Raises `SystemExit` with the reason's exit code where the model cannot be served, or a port is taken: a script whose last line
        this is then ends as `dragoman serve` does.
        """
        from dragoman import logs
        from dragoman.supervisor import serve

        level = "DEBUG" if debug else "INFO"
        logs.configure("text", level)
        settings = Settings(
            host=host,
            port=port,
            grpc_port=grpc_port,
            management_port=management_port,
            workers=self.manifest.spec.serving.workers,
            log_format="text",
            log_level=level,
            fork=sys.platform != "darwin",
        )
        try:
            code = serve([self.manifest], settings)
        except AddressInUse as error:
            logger.error(_FLAG.sub(lambda flag: f"{flag[1].replace('-', '_')}=", error.message), extra={"reason": error.reason})  # noqa: TRY400
            code = error.exit_code
        if code:
            raise SystemExit(code)
        return code


def create_prediction_microservice(pipeline_folder: str | Path, model_name: str) -> Microservice:
    """`/predict` and gRPC's `Classify`, from a folder with a saved pipeline, or any other model; `model_name` is what replies call it."""
    return Microservice(_manifest(pipeline_folder, Seldon(model_name=model_name)))


def create_recommendation_microservice(
    recommender_folder: str | Path, memcache_servers: Sequence[str] | None = None, *, memcache_timeout_seconds: float = TIMEOUT_SECONDS
) -> Microservice:
    """`/recommend`, from a folder with a saved recommender; `memcache_servers` (host:port) hold the lists that clients name."""
    memcached = Memcached(servers=tuple(memcache_servers), timeout_seconds=memcache_timeout_seconds) if memcache_servers else None
    return Microservice(_manifest(recommender_folder, Seldon(memcached=memcached)))


class Microservices:
    """The two, as methods."""

    create_prediction_microservice = staticmethod(create_prediction_microservice)
    create_recommendation_microservice = staticmethod(create_recommendation_microservice)


def _manifest(folder: str | Path, options: Seldon) -> ModelDeployment:
    """Raises `InvalidSpec` where the options cannot be."""
    for problem in options.problems():
        raise InvalidSpec(problem)
    text = str(folder)
    uri = text if "://" in text else str(Path(text).resolve()) + ("/" if Path(text).is_dir() else "")
    manifest = from_uri(uri, name_of(uri))
    serving = Serving(dialects=Dialects(seldon=options))
    return msgspec.structs.replace(manifest, spec=msgspec.structs.replace(manifest.spec, serving=serving))
