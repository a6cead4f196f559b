"""The servers that are measured, one module each."""

from bench.servers import bentoml, floor, kserve, litserve, mlflow, mlserver, ours, ray
from bench.servers.server import Server, Up, up

SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        *floor.SERVERS,
        *ours.SERVERS,
        *mlserver.SERVERS,
        *kserve.SERVERS,
        *bentoml.SERVERS,
        *litserve.SERVERS,
        *mlflow.SERVERS,
        *ray.SERVERS,
    )
}

__all__ = ["SERVERS", "Server", "Up", "up"]
