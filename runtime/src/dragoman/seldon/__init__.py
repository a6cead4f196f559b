"""Writing and serving models as for Seldon's microservices: recommenders, scikit-learn pipelines, data handlers, one-line servers.

They are imported when they are asked for, so that `import dragoman.seldon` brings neither numpy nor a server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dragoman.seldon.handler import BadDataError, CustomDataHandler
    from dragoman.seldon.microservices import Microservices, create_prediction_microservice, create_recommendation_microservice
    from dragoman.seldon.pipeline import Pipeline, save_pipeline
    from dragoman.seldon.recommender import Recommender, load_recommender, save_recommender

__all__ = [
    "BadDataError",
    "CustomDataHandler",
    "Microservices",
    "Pipeline",
    "Recommender",
    "create_prediction_microservice",
    "create_recommendation_microservice",
    "load_recommender",
    "save_pipeline",
    "save_recommender",
]

_HOMES = {
    "handler": ("BadDataError", "CustomDataHandler"),
    "microservices": ("Microservices", "create_prediction_microservice", "create_recommendation_microservice"),
    "pipeline": ("Pipeline", "save_pipeline"),
    "recommender": ("Recommender", "load_recommender", "save_recommender"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'dragoman.seldon' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dragoman.seldon.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
