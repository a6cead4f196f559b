"""The options of the datarobot dialect: what DataRobot keeps with a deployment, and a model's own file does not say."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from dragoman.part import Part

_LABELS = (str, int, float, bool)


class UncertainPrediction(Part, frozen=True):
    """The predicted value, or the probability of the positive class (of the predicted one of several), is outside these bounds."""

    lower: float | None = None
    upper: float | None = None
    inside: bool = False  # fires inside the bounds instead

    def problems(self) -> Iterator[str]:
        yield from _bound_problems(self.lower, self.upper)


class OutlyingInput(Part, frozen=True):
    """A numeric feature is outside these bounds."""

    feature: str
    lower: float | None = None
    upper: float | None = None

    def problems(self) -> Iterator[str]:
        yield from _bound_problems(self.lower, self.upper)


class LowObservationRegion(Part, frozen=True):
    """A categorical feature is none of these values, which are those seen often enough."""

    feature: str
    values: tuple[Any, ...]

    def problems(self) -> Iterator[str]:
        if not self.values:
            yield "values: must not be empty: every row would be outside of it"


class HumilityTrigger(Part, frozen=True):
    """What makes a rule fire: one of these."""

    uncertain_prediction: UncertainPrediction | None = None
    outlying_input: OutlyingInput | None = None
    low_observation_region: LowObservationRegion | None = None

    def problems(self) -> Iterator[str]:
        yield from _one_problems(self, "{uncertainPrediction: {lower: 0.2}}")


class NoOperation(Part, frozen=True):
    """The rule is only told of."""


class OverridePrediction(Part, frozen=True):
    """The row's `prediction` becomes this value."""

    value: Any

    def problems(self) -> Iterator[str]:
        if not isinstance(self.value, _LABELS):
            yield "value: must be a number, a string or true or false"


class ThrowError(Part, frozen=True):
    """The whole request is answered with status 480."""


class HumilityAction(Part, frozen=True):
    """What a rule does that fires: one of these."""

    no_operation: NoOperation | None = None
    override_prediction: OverridePrediction | None = None
    throw_error: ThrowError | None = None

    def problems(self) -> Iterator[str]:
        yield from _one_problems(self, "{noOperation: {}}")


class HumilityRule(Part, frozen=True):
    id: str
    name: str
    trigger: HumilityTrigger
    action: HumilityAction

    def problems(self) -> Iterator[str]:
        yield from (f"trigger{_joint(problem)}" for problem in self.trigger.problems())
        yield from (f"action{_joint(problem)}" for problem in self.action.problems())


class ForecastWindow(Part, frozen=True):
    """The time steps after the forecast point that are predicted, both ends included."""

    end: int
    start: int = 1

    def problems(self) -> Iterator[str]:
        if not 1 <= self.start <= self.end <= 10_000:
            yield f": start and end must be between 1 and 10000, and start not after end; got {self.start} and {self.end}"


class TimeSeries(Part, frozen=True):
    """How a data set is read as series. Without `time_unit` the rows themselves are the steps, and none are made."""

    timestamp_column: str
    forecast_window: ForecastWindow
    series_id_column: str | None = None
    time_unit: Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year"] | None = None
    time_step: int | None = None  # in time units; None: 1
    known_in_advance: tuple[str, ...] = ()
    history_steps: int | None = None  # before the forecast point, that the model is given; None: all that are sent
    timestamp_format: str | None = None  # strptime's; None: ISO 8601
    original_format_timestamp: bool = False

    def problems(self) -> Iterator[str]:
        yield from (f"forecastWindow{_joint(problem)}" for problem in self.forecast_window.problems())
        if self.time_step is not None and self.time_unit is None:
            yield "timeStep: counts time units, and timeUnit is not set; set it, or leave timeStep out"
        if self.time_step is not None and not 1 <= self.time_step <= 10_000:
            yield f"timeStep: must be between 1 and 10000, got {self.time_step}"
        if self.history_steps is not None and not 1 <= self.history_steps <= 1_000_000:
            yield f"historySteps: must be between 1 and 1000000, got {self.history_steps}"


class Datarobot(Part, frozen=True):
    """Options of DataRobot's Prediction API."""

    deployment_id: str | None = None  # in the path; None: the model's name
    model_id: str | None = None  # in X-DataRobot-Model-Id; None: made from the model's digest and name
    target: str | None = None  # None: the signature's, else "target"
    positive_class: Any = None  # of two classes; None: the second one
    class_order: tuple[Any, ...] | None = None  # of more than two; None: the model's
    threshold: float = 0.5  # the probability above which a row is of the positive class
    exposure_column: str | None = None
    exposure_adjustment: Literal["multiply", "divide"] | None = None  # None: multiply
    datarobot_key_env: str | None = None  # the environment variable that holds what the datarobot-key header must be
    humility: tuple[HumilityRule, ...] = ()
    time_series: TimeSeries | None = None

    def problems(self) -> Iterator[str]:
        if self.deployment_id is not None and not re.fullmatch(r"[A-Za-z0-9._~-]{1,253}", self.deployment_id):
            yield f"deploymentId: must be 1 to 253 letters, digits, -, _, . and ~, got {self.deployment_id!r}"
        if self.model_id is not None and not re.fullmatch(r"[!-~]{1,253}", self.model_id):
            yield f"modelId: must be 1 to 253 characters of printable ASCII without blanks, got {self.model_id!r}"
        if self.positive_class is not None and not isinstance(self.positive_class, _LABELS):
            yield "positiveClass: must be one of the classes: a string, a number or true or false"
        if self.positive_class is not None and self.class_order is not None:
            yield "classOrder: is for more than two classes, positiveClass for two; leave one of them out"
        if not math.isfinite(self.threshold):
            yield f"threshold: must be a finite number, got {self.threshold}"
        if self.exposure_adjustment is not None and self.exposure_column is None:
            yield "exposureAdjustment: says what is done with exposureColumn, which is not set; set it, or leave exposureAdjustment out"
        if self.exposure_column is not None and self.time_series is not None:
            yield "exposureColumn: adjusts rows that are sent, and a forecast makes its own; leave it or timeSeries out"
        for i, rule in enumerate(self.humility):
            yield from (f"humility[{i}].{problem}" for problem in rule.problems())
            if any(rule.id == other.id for other in self.humility[:i]):
                yield f"humility[{i}].id: each id once, and {rule.id!r} is that of another rule too"
        if self.time_series is not None:
            yield from (f"timeSeries.{problem}" for problem in self.time_series.problems())


def _bound_problems(lower: float | None, upper: float | None) -> Iterator[str]:
    if lower is None and upper is None:
        yield ": must have lower, upper or both"
    elif lower is not None and upper is not None and not lower <= upper:
        yield f"lower: must not be greater than upper, got {lower} and {upper}"


def _one_problems(part: Part, example: str) -> Iterator[str]:
    set_ = [(name, value) for name in part.__struct_fields__ if (value := getattr(part, name)) is not None]
    if len(set_) != 1:
        names = ", ".join(field.encode_name for field in msgspec.structs.fields(part))
        yield f": must have exactly one of {names}, such as {example}"
    for name, value in set_:
        encoded = next(field.encode_name for field in msgspec.structs.fields(part) if field.name == name)
        yield from (f"{encoded}{_joint(problem)}" for problem in value.problems())


def _joint(problem: str) -> str:
    """A problem of the part itself begins with a colon; one of a field below it with the field's name."""
    return problem if problem.startswith(":") else f".{problem}"
