"""Revisions: which pod template a ModelDeployment runs on, and when it is rendered anew.

A revision is named by the hash of what its user asked for. Its pod template is rendered once and stored; an upgrade of the operator
renders other templates, but applies the stored one until the user asks for something else (or for a refresh), or the installation's
upgrade policy is Immediate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from dragoman_operator.build import controller_revision, pod_template, template_in
from dragoman_operator.difference import difference
from dragoman_operator.names import ASKED_LABEL, REVISION_LABEL
from dragoman_operator.objects import Object, digest, label
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment

KEPT = 5  # revisions that are kept, to go back to


@dataclass(frozen=True)
class Revision:
    name: str
    number: int
    template: Object
    forged: bool = False  # what is stored under its name is not what we stored, and is to be replaced
    held: bool = False  # a newer rendering waits until fewer models are moving

    @cached_property
    def hash(self) -> str:
        """The digest of its template, kept in status: whoever replaces the stored template does not get it applied."""
        return "sha256:" + digest(self.template)

    def stored_as(self, md: ModelDeployment) -> Object:
        return controller_revision(md, self.name, self.number, self.template)


def choose(
    md: ModelDeployment,
    stored: Iterable[Object],
    live: Object | None,
    settings: Settings,
    *,
    known: tuple[str, str] = ("", ""),
    may_move: bool = True,
) -> Revision:
    """The revision to run.

    `stored` are the model's ControllerRevisions, `live` its Deployment, `known` the name and hash of the revision in its status;
    `may_move` says whether the upgrade policy may move one more model now.
    """
    revisions = sorted(stored, key=_number)
    latest = _number(revisions[-1]) if revisions else 0
    mine = [one for one in revisions if label(one, ASKED_LABEL) == md.asked]
    if not mine:
        return _unstored(md, live, settings, latest)
    newest = mine[-1]
    current = Revision(label(newest, REVISION_LABEL), _number(newest), template_in(newest))
    if current.name == known[0] and known[1] and current.hash != known[1]:
        rebuilt = _unstored(md, live, settings, latest)
        return replace(rebuilt, forged=rebuilt.name == current.name)
    if settings.upgrade_policy == "OnChange" or pod_template(md, current.name, settings) == current.template:
        return current
    if not may_move:
        return replace(current, held=True)
    return _rendered(md, digest(md.asked, pod_template(md, "", settings))[:10], settings, latest + 1)


def surplus(stored: Iterable[Object], current: Revision, used: set[str]) -> list[str]:
    """The names of revisions that need not be kept: neither the current one, nor `used` by pods, nor among the last few."""
    others = sorted((one for one in stored if label(one, REVISION_LABEL) != current.name), key=_number, reverse=True)
    return [name for one in others[KEPT - 1 :] if (name := label(one, REVISION_LABEL)) not in used]


def _unstored(md: ModelDeployment, live: Object | None, settings: Settings, latest: int) -> Revision:
    """What is asked for has no stored template: it is new, or its template was lost and is rebuilt from the live Deployment."""
    if live is None or label(live, ASKED_LABEL) != md.asked:
        return _rendered(md, md.asked, settings, latest + 1)
    template = live["spec"]["template"]
    name = label(template, REVISION_LABEL) or md.asked
    fresh = pod_template(md, name, settings)
    return Revision(name, latest + 1, fresh if difference(fresh, template) is None else _without_defaults(template))


def _rendered(md: ModelDeployment, name: str, settings: Settings, number: int) -> Revision:
    return Revision(name, number, pod_template(md, name, settings))


def _without_defaults(template: Object) -> Object:
    """A live template, without what only the API server writes there."""
    metadata = {name: value for name, value in template["metadata"].items() if name in ("labels", "annotations")}
    return {"metadata": metadata, "spec": template["spec"]}


def _number(stored: Object) -> int:
    return int(stored.get("revision") or 0)
