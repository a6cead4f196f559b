"""The options of each dialect, as they stand under `spec.serving.dialects` in the manifest."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from dragoman.datarobot_options import Datarobot
from dragoman.memcached_options import Memcached
from dragoman.mlup_options import Mlup
from dragoman.part import Part


class V1(Part, frozen=True):
    """Options of the Open Inference Protocol v1 dialect: none."""


class V2(Part, frozen=True):
    """Options of the Open Inference Protocol v2 dialect, REST and gRPC: none."""


class Certifai(Part, frozen=True):
    """Options of Certifai's predict API."""

    route: str | None = None  # the path that predicts, below the root: "bank_marketing/predict"; None: the model's name and "/predict"
    scores: Literal["none", "positive", "all"] | None = None  # None: all, of a classifier that has probabilities
    threshold: float | None = None  # with `positive`: the least score of the positive class; None: 0.5

    def problems(self) -> Iterator[str]:
        if self.route is not None and not re.fullmatch(r"/?[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*", self.route):
            yield f"route: must be a path of letters, digits, -, _, . and ~, such as bank_marketing/predict, got {self.route!r}"
        if self.threshold is not None and self.scores != "positive":
            yield "threshold: belongs to scores: positive, and scores is another; set it, or leave threshold out"
        if self.threshold is not None and not math.isfinite(self.threshold):
            yield f"threshold: must be a finite number, got {self.threshold}"


class Seldon(Part, frozen=True):
    """Options of Seldon's microservice API, REST and gRPC."""

    shape: Literal["seldon", "seldon2"] = "seldon"  # of the replies of /predict
    # how a class is called, by its label, else by its index: {"0": "setosa"}
    class_map: dict[str | int, str] = msgspec.field(default_factory=dict)
    confidence: float | None = None  # said of every class; None: the model's own, else its score
    model_name: str | None = None  # as replies give it; None: metadata.name
    memcached: Memcached | None = None  # has the lists of items to choose from; None: recommenders choose from what they know

    @property
    def names(self) -> dict[str, str]:
        """`class_map`, its keys as text: YAML reads 0 as a number, JSON has only text."""
        return {str(key): name for key, name in self.class_map.items()}

    def problems(self) -> Iterator[str]:
        if self.confidence is not None and not math.isfinite(self.confidence):
            yield f"confidence: must be a finite number, got {self.confidence}"
        if self.model_name == "":
            yield "modelName: must not be empty; leave it out for metadata.name"
        if self.memcached is not None:
            yield from (f"memcached.{problem}" for problem in self.memcached.problems())


class PorterApp(Part, frozen=True):
    """What porter's health checks and docs say of the application."""

    name: str | None = None
    description: str | None = None
    version: str | None = None
    meta: dict[str, Any] = msgspec.field(default_factory=dict)

    def problems(self) -> Iterator[str]:
        yield from _no_json("meta", self.meta)


class Porter(Part, frozen=True):
    """Options of the porter API. Those from `app` on are of the application: models of one server say the same, and None leaves them as the
    code of the services has them, else off."""

    name: str | None = None  # None: metadata.name
    api_version: str = "v1"
    namespace: str = ""  # before the name in the path: "datascience"
    action: str = "prediction"  # the last part of the path
    meta: dict[str, Any] = msgspec.field(default_factory=dict)  # in every reply, as model_context.model_meta
    batch_prediction: bool = True  # requests hold a list of rows; False: one row
    feature_schema: dict[str, Any] | None = None  # of a row, without its id; JSON Schema. None: made of the model's inputs
    prediction_schema: dict[str, Any] | None = None  # of one prediction. None: a number
    infer_feature_columns: bool = True  # the model is given the schema's columns; False: every one, as it was sent
    validate_request_data: bool = False
    validate_response_data: bool = False
    log_api_calls: bool = False
    app: PorterApp | None = None
    expose_docs: bool | None = None
    docs_url: str | None = None  # None: /docs/
    docs_json_url: str | None = None  # None: /_docs.json
    docs_prefix: str | None = None  # before both
    return_message_on_error: bool | None = None  # None: True
    return_traceback_on_error: bool | None = None
    return_user_data_on_error: bool | None = None
    return_request_id: bool | None = None  # None: True
    support_response_gzip: bool | None = None

    def problems(self) -> Iterator[str]:
        for field, value in (("name", self.name), ("apiVersion", self.api_version), ("action", self.action)):
            if value is not None and not re.fullmatch(_PART, value):
                yield f"{field}: must be one part of a path, without / and spaces, got {value!r}"
        if not re.fullmatch(f"/?({_PART}(/{_PART})*)?/?", self.namespace):
            yield f"namespace: must be parts of a path, such as datascience/models, got {self.namespace!r}"
        for field, value in (("docsUrl", self.docs_url), ("docsJsonUrl", self.docs_json_url)):
            if value is not None and not re.fullmatch(f"/{_PART}(/{_PART})*/?", value):
                yield f"{field}: must be a path that begins with /, such as /docs/, got {value!r}"
        if self.docs_prefix is not None and not re.fullmatch(f"(/{_PART})*", self.docs_prefix):
            yield f"docsPrefix: must begin with / and not end with one, such as /models, got {self.docs_prefix!r}"
        yield from _no_json("meta", self.meta)
        if self.app is not None:
            yield from (f"app.{problem}" for problem in self.app.problems())
        from dragoman.porter.schemas import of_definition

        for field, schema in (("featureSchema", self.feature_schema), ("predictionSchema", self.prediction_schema)):
            try:
                if schema is not None:
                    of_definition({"type": "object", **schema} if field == "featureSchema" else schema, field)
            except ValueError as error:
                yield str(error)
        if self.feature_schema is not None and (
            self.feature_schema.get("type", "object") != "object" or not self.feature_schema.get("properties")
        ):
            yield "featureSchema: must be of type object, with properties: one for each column"


_PART = r"[^/\s{}<>?#%]+"  # of a path


def _no_json(field: str, value: Any) -> Iterator[str]:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        yield f"{field}: must be JSON: {error}"


class Dialects(Part, frozen=True):
    """The prediction APIs that are spoken; one left out is off."""

    v1: V1 | None = None
    v2: V2 | None = None
    porter: Porter | None = None
    mlup: Mlup | None = None
    certifai: Certifai | None = None
    datarobot: Datarobot | None = None
    seldon: Seldon | None = None

    def enabled(self) -> dict[str, Any]:
        """Options by dialect name, of those that are on."""
        options = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: option for name, option in options.items() if option is not None}

    def problems(self) -> Iterator[str]:
        for name, options in self.enabled().items():
            yield from (f"{name}.{problem}" for problem in options.problems())

    def replica_problems(self) -> Iterator[str]:
        """What does not go with several replicas, nor with none."""
        if self.mlup is not None:
            yield from (f"mlup.{problem}" for problem in self.mlup.replica_problems())
