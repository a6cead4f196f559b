"""Status: what is true now, of one ModelDeployment. Pure: observed → status and conditions.

`kubectl wait`, Flux and Argo CD (kstatus) rely on it: `observedGeneration`, `Ready`, and `Reconciling` and `Stalled`, which are true
when something is out of the ordinary. A condition's time moves only when its status does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dragoman_operator.errors import PASSING, Reason, Violation, clipped
from dragoman_operator.names import GRPC_PORT, HTTP_PORT, REVISION_LABEL, as_selector, selector
from dragoman_operator.objects import Object, label, meta
from dragoman_operator.pods import STATES, Failure, Progress, is_leaving, progress
from dragoman_operator.report import Report
from dragoman_operator.revision import Revision
from dragoman_operator.spec import ModelDeployment

_BYTES_STEP = 10  # per cent: bytes are written to status when they have come so much further

# Where a dialect takes predictions, of a model's name and the dialect's options; else at the root.
_PATHS: Mapping[str, Callable[[str, Mapping[str, Any]], str]] = {
    "v1": lambda name, options: f"/v1/models/{name}:predict",
    "v2": lambda name, options: f"/v2/models/{name}/infer",
    "seldon": lambda name, options: "/predict",
    "mlup": lambda name, options: "/predict",
    "porter": lambda name, options: _porter(name, options),
    "datarobot": lambda name, options: f"/predApi/v1.0/deployments/{options.get('deploymentId') or name}/predictions",
    "certifai": lambda name, options: "/" + str(options.get("route") or f"{name}/predict").strip("/"),
}
_GRPC = frozenset({"v2", "seldon"})  # which dialects are spoken over gRPC as well
_REASONS = {"Pending": Reason.WAITING_FOR_PODS, "Fetching": Reason.FETCHING, "Loading": Reason.LOADING, "Loaded": Reason.ROLLING_OUT}
_STEPS = {"Pending": "waiting for a pod to start", "Fetching": "fetching the model", "Loading": "loading the model"}


@dataclass(frozen=True)
class Seen:
    """What a status is made of."""

    revision: Revision | None = None
    deployment: Object | None = None
    pods: Sequence[Object] = ()
    reports: Mapping[str, Report] = field(default_factory=dict)  # by the pod's name
    violation: Violation | None = None  # what keeps the spec from being acted on


@dataclass(frozen=True)
class _Verdict:
    """Ready, and why."""

    ready: bool
    reason: Reason
    message: str
    stalled: bool = False


def status(md: ModelDeployment, seen: Seen, previous: Mapping[str, Any], now: str) -> Object:
    """The whole of `status`; `previous` is what stands there, `now` the time in RFC 3339."""
    mine = [pod for pod in seen.pods if seen.revision is not None and label(pod, REVISION_LABEL) == seen.revision.name]
    pods = [progress(pod, seen.reports.get(meta(pod)["name"])) for pod in mine if not is_leaving(pod)]
    counts = _Counts.of(md, seen.deployment)
    verdict = _verdict(md, seen, counts, pods)
    url = f"http://{md.name}.{md.namespace}.svc:{HTTP_PORT}"
    found: Object = {
        "observedGeneration": md.generation,
        "conditions": _conditions(md, counts, pods, verdict, previous, now),
        "model": _model(md, counts, pods, verdict, previous, now),
        "replicas": counts.replicas,
        "readyReplicas": counts.ready,
        "selector": as_selector(selector(md)),
        "url": url,
        "endpoints": _endpoints(md, url),
    }
    if seen.revision is not None:
        found |= {"revision": seen.revision.name, "revisionHash": seen.revision.hash}
    else:
        found |= {name: previous[name] for name in ("revision", "revisionHash") if name in previous}
    return found


def refusal(obj: Object, violation: Violation, now: str) -> Object:
    """The status of a ModelDeployment that cannot even be read: what was true of it stays, but that it is Stalled."""
    previous = obj.get("status") or {}
    generation = meta(obj).get("generation", 0)
    verdict = _Verdict(False, violation.reason, str(violation), stalled=True)
    held = {one["type"]: one for one in previous.get("conditions") or ()}
    wanted = [
        ("Available", held.get("Available", {}).get("status", "False"), verdict.reason, verdict.message),
        *_common(verdict),
        ("ModelLoaded", held.get("ModelLoaded", {}).get("status", "False"), verdict.reason, verdict.message),
    ]
    return {**previous, "observedGeneration": generation, "conditions": _dated(wanted, generation, previous, now)}


@dataclass(frozen=True)
class _Counts:
    """The Deployment's own words."""

    wanted: int
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    current: bool = False  # it has seen its latest spec
    refused: str = ""  # why its pods are not created

    @classmethod
    def of(cls, md: ModelDeployment, deployment: Object | None) -> _Counts:
        if deployment is None:
            return cls(md.scale.replicas)
        told = deployment.get("status") or {}
        failing = [one for one in told.get("conditions") or () if one["type"] == "ReplicaFailure" and one["status"] == "True"]
        return cls(
            wanted=md.scale.replicas,
            replicas=told.get("replicas", 0),
            updated=told.get("updatedReplicas", 0),
            ready=told.get("readyReplicas", 0),
            available=told.get("availableReplicas", 0),
            current=told.get("observedGeneration", 0) >= meta(deployment).get("generation", 0),
            refused=str(failing[0].get("message", "")) if failing else "",
        )

    @property
    def rolled_out(self) -> bool:
        return self.current and self.updated == self.replicas == self.wanted and self.available >= self.wanted


def _verdict(md: ModelDeployment, seen: Seen, counts: _Counts, pods: Sequence[Progress]) -> _Verdict:
    if seen.violation is not None:
        return _Verdict(False, seen.violation.reason, str(seen.violation), stalled=seen.violation.reason not in PASSING)
    if drift := _digest_drift(md, pods):
        return _Verdict(False, Reason.DIGEST_DRIFT, drift, stalled=True)
    if seen.deployment is not None and counts.rolled_out:
        if counts.wanted == 0:
            return _Verdict(True, Reason.SCALED_TO_ZERO, "no replicas are asked for")
        return _Verdict(True, Reason.ROLLED_OUT, f"{counts.ready} of {counts.wanted} replicas serve revision {_name(seen)}")
    if failure := _failure(pods):
        none_ready = not any(pod.ready for pod in pods)
        return _Verdict(False, failure.reason, failure.message, stalled=none_ready and failure.reason not in PASSING)
    if counts.refused:
        return _Verdict(False, Reason.PODS_REFUSED, f"pods are not created: {counts.refused}")
    state = _furthest(pods)
    if state == "Loaded" or (not pods and counts.available):
        return _Verdict(False, Reason.ROLLING_OUT, f"revision {_name(seen)} is rolling out: {counts.wanted} replicas are wanted")
    return _Verdict(False, _REASONS[state], f"revision {_name(seen)}: {_STEPS[state]}")


def _name(seen: Seen) -> str:
    return seen.revision.name if seen.revision is not None else ""


def _failure(pods: Sequence[Progress]) -> Failure | None:
    """The failure to speak of: one that only a change can mend, before one that may pass."""
    failures = [pod.failure for pod in pods if pod.failure is not None]
    return min(failures, key=lambda failure: failure.reason in PASSING, default=None)


def _furthest(pods: Sequence[Progress]) -> str:
    return max((pod.state for pod in pods), key=STATES.index, default="Pending")


def _digest_drift(md: ModelDeployment, pods: Sequence[Progress]) -> str | None:
    digests = sorted({pod.report.model.digest for pod in pods if pod.ready and pod.report is not None and pod.report.model.digest})
    if len(digests) < 2:
        return None
    return (
        f"replicas of one revision loaded different bytes ({' and '.join(d[:19] + '…' for d in digests)}): {md.model.uri} was overwritten; "
        "pin spec.model.digest, or write new versions to new places"
    )


# --- the parts of status ---


def _model(
    md: ModelDeployment, counts: _Counts, pods: Sequence[Progress], verdict: _Verdict, previous: Mapping[str, Any], now: str
) -> Object:
    before = previous.get("model") or {}
    rolled_out = verdict.ready and counts.wanted > 0
    state = "Loaded" if rolled_out else _furthest(pods)
    failure = None if rolled_out else _failure(pods)
    told = [pod.report.model for pod in sorted(pods, key=lambda pod: -STATES.index(pod.state)) if pod.report is not None]
    model: Object = {"state": state}
    loaded = next((one for one in told if one.digest), None)
    model["digest"] = (loaded.digest if loaded else "") or (md.model.digest if state == "Loaded" else "") or _kept(before, state, "digest")
    model["format"] = next((one.format for one in told if one.format), "") or _kept(before, state, "format")
    if told and told[0].total_bytes:
        model["totalBytes"] = told[0].total_bytes
    elif told == [] and state == "Loaded":
        model["totalBytes"] = before.get("totalBytes")
    model["bytes"] = _stepped(told[0].bytes, told[0].total_bytes, before) if told else _kept(before, state, "bytes")
    if failure is not None:
        model["failure"] = _failed(failure, before.get("failure") or {}, now)
    return {name: value for name, value in model.items() if value not in ("", None)}


def _kept(before: Mapping[str, Any], state: str, field_name: str) -> Any:
    """What was known of a loaded model stays known while nobody can be asked: after a restart of the operator."""
    return before.get(field_name) if state == before.get("state") == "Loaded" else None


def _stepped(count: int, total: int | None, before: Mapping[str, Any]) -> int:
    """Bytes, held at what is written already until they have come a step further."""
    held = before.get("bytes", 0)
    if not total or count >= total or not 0 < held <= count or before.get("totalBytes") != total:
        return count
    return count if count * 100 // total // _BYTES_STEP != held * 100 // total // _BYTES_STEP else int(held)


def _failed(failure: Failure, before: Mapping[str, Any], now: str) -> Object:
    told: Object = {"reason": str(failure.reason), "message": failure.message, "pod": failure.pod}
    if failure.exit_code is not None:
        told["exitCode"] = failure.exit_code
    same = all(before.get(name) == value for name, value in told.items())
    return told | {"time": failure.time or (before.get("time") if same else None) or now}


def _endpoints(md: ModelDeployment, url: str) -> list[Object]:
    names = sorted(md.serving.dialects)
    over_grpc = f"grpc://{md.name}.{md.namespace}.svc:{GRPC_PORT}"
    rest = [{"dialect": name, "url": url + _path(md, name)} for name in names]
    return rest + [{"dialect": f"{name}-grpc", "url": over_grpc} for name in names if name in _GRPC]


def _path(md: ModelDeployment, dialect: str) -> str:
    return _PATHS[dialect](md.name, md.serving.dialects[dialect] or {}) if dialect in _PATHS else "/"


def _porter(name: str, options: Mapping[str, Any]) -> str:
    """Of services that the model's own code makes only their health checks are known here."""
    parts = [str(options.get("namespace") or "").strip("/"), str(options.get("name") or name)]
    parts += [str(options.get("apiVersion") or "v1"), str(options.get("action") or "prediction")]
    return "/" + "/".join(filter(None, parts))


_Condition = tuple[str, str, Reason, str]  # type, status, reason, message


def _conditions(
    md: ModelDeployment, counts: _Counts, pods: Sequence[Progress], verdict: _Verdict, previous: Mapping[str, Any], now: str
) -> list[Object]:
    idle = verdict.ready and counts.wanted == 0
    loaded = (verdict.ready and not idle) or any(pod.ready for pod in pods)
    wanted: list[_Condition] = [
        ("Available", "True", Reason.SERVING, _serving(counts))
        if counts.available
        else ("Available", "False", verdict.reason, "no replica serves: " + verdict.message),
        *_common(verdict),
        ("ModelLoaded", "True", Reason.LOADED, "the model is loaded")
        if loaded
        else ("ModelLoaded", "False", verdict.reason, verdict.message),
    ]
    return _dated(wanted, md.generation, previous, now)


def _common(verdict: _Verdict) -> list[_Condition]:
    working = not verdict.ready and not verdict.stalled
    return [
        ("Ready", _text(verdict.ready), verdict.reason, verdict.message),
        ("Reconciling", _text(working), verdict.reason, verdict.message)
        if working
        else ("Reconciling", "False", Reason.SETTLED, "nothing is under way"),
        ("Stalled", _text(verdict.stalled), verdict.reason, verdict.message)
        if verdict.stalled
        else ("Stalled", "False", Reason.NOT_STALLED, "nothing stands in the way"),
    ]


def _serving(counts: _Counts) -> str:
    return f"{counts.available} replica{'s' if counts.available != 1 else ''} answer{'s' if counts.available == 1 else ''}"


def _dated(wanted: Sequence[_Condition], generation: int, previous: Mapping[str, Any], now: str) -> list[Object]:
    held = {one["type"]: one for one in previous.get("conditions") or ()}
    return [
        {
            "type": kind,
            "status": value,
            "reason": str(reason),
            "message": clipped(message),
            "lastTransitionTime": held[kind]["lastTransitionTime"] if held.get(kind, {}).get("status") == value else now,
            "observedGeneration": generation,
        }
        for kind, value, reason, message in wanted
    ]


def _text(value: bool) -> str:
    return "True" if value else "False"


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """The JSON merge patch (RFC 7386) from one to the other: empty when nothing changed; lists as a whole."""
    patch: Object = {name: None for name in before if name not in after}
    for name, value in after.items():
        there = before.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            if inner := merge_patch(there, value):
                patch[name] = inner
        elif value != there:
            patch[name] = value
    return patch
