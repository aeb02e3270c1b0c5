"""What a route's weights should be, and the change that makes them so; no I/O.

A route (an `HTTPRoute` of the Gateway API, or an `AIGatewayRoute` of Envoy AI Gateway) has rules; a rule has backends
with weights. Where a rule has both the control's and the canary's backend, their weights follow the flag.

An annotation of the route holds what was written last: of which revision of the flag, and whether it was control for
want of knowledge. So replicas do not undo each other, and a person who lowers the canary by hand is not overruled:

- Lowering the canary is always right, so no fault of a rule stops it: not in that rule, and not in the others.
- Raising it needs a flag that is surely known, and changed since what was written last; or the same one, if a mirror
  had lowered it only because it was unsure. A drill gives the same flag a newer revision, and changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from killswitch.errors import BadDocument, BadSettings
from killswitch.flags.document import to_document
from killswitch.router.failsafe import RouterState
from killswitch.router.snapshot import ObeyedFlag
from killswitch.wording import counted

ANNOTATION = "llm-canary-killswitch/applied"
WHOLE = 10_000  # the sum of both weights: hundredths of a percent
_UNSURE = frozenset({
    RouterState.CORRUPT, RouterState.CUT_OFF, RouterState.UNWATCHED, RouterState.UNREAD, RouterState.CLOSED,
})  # fmt: skip
_BACKEND = re.compile(r"(?:([a-z0-9][a-z0-9.-]{0,252})/)?([a-z0-9][a-z0-9.-]{0,252})(?::([0-9]{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend of a rule; ``namespace`` None is the route's own, ``port`` None any."""

    name: str
    namespace: str | None = None
    port: int | None = None

    def is_meant_by(self, reference: Mapping[str, Any], own_namespace: str) -> bool:
        if reference.get("name") != self.name:
            return False
        given = reference.get("namespace") or own_namespace
        if given != (self.namespace or own_namespace):
            return False
        return self.port is None or reference.get("port") == self.port


def backend(text: str) -> Backend:
    """``new-model``, ``models/new-model`` or ``models/new-model:8080``. Raises BadSettings."""
    found = _BACKEND.match(text)
    if found is None:
        raise BadSettings([f"{text!r:.100} names no backend: write NAME, NAMESPACE/NAME or NAMESPACE/NAME:PORT"])
    return Backend(found[2], found[1], int(found[3]) if found[3] else None)


@dataclass(frozen=True, slots=True)
class Pair:
    """Whose weights follow the flag."""

    control: Backend
    canary: Backend


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the route should send to the canary: ``percent``, 0 to 100, by this revision of the flag.

    ``sure``: whether it follows from a flag that is known, and not from the want of one. ``complete``: everyone has
    the new model, because the rollout is over. ``absent``: the store has no flag. ``says``: a digest of the flag's
    document, "" without one. Its times would not do: a person's slow clock leaves them as they were.
    """

    rollout: str
    percent: float
    generation: int
    revision: int
    sure: bool
    complete: bool = False
    absent: bool = False
    says: str = ""


def wanted_of(rollout: str, snapshot: ObeyedFlag) -> Wanted:
    """What a router obeys, in the words of a route. In stage ``aa`` and in ``shadow`` no one gets the canary."""
    standing = snapshot.standing
    complete = standing is RouterState.COMPLETE
    return Wanted(
        rollout,
        100.0 if complete else snapshot.canary_percent if snapshot.exposes else 0.0,
        snapshot.generation,
        snapshot.revision,
        standing not in _UNSURE,
        complete,
        standing is RouterState.NO_FLAG,
        "" if snapshot.flag is None else hashlib.sha256(to_document(snapshot.flag)).hexdigest()[:32],
    )


@dataclass(frozen=True, slots=True)
class Applied:
    """What the annotation says was written last."""

    rollout: str
    generation: int
    revision: int
    percent: float
    unsure: bool
    complete: bool
    says: str

    def is_of(self, wanted: Wanted) -> bool:
        """Whether it was written of this very flag, or of a newer one."""
        same = (self.generation, self.says) == (wanted.generation, wanted.says)
        return same or wanted.revision < self.revision


@dataclass(frozen=True, slots=True)
class Turn:
    """What to write, ``patch`` () for nothing, and what holds afterwards.

    ``patch`` is a JSON Patch (RFC 6902) that fails if the route has changed. ``percent`` (0 to 100) is the largest
    share that any rule then gives to the canary. ``reached``: whether that is what was wanted. ``said``: why not.
    """

    patch: tuple[Mapping[str, Any], ...]
    percent: float
    reached: bool
    said: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """The two backends in one rule: their indices, and the canary's share now.

    ``only_lowered``: why its weights can be lowered and not raised, "" where they can. ``idle``: without the canary no
    backend has weight, so once it is lowered every request would fail.
    """

    rule: int
    control: int
    canaries: tuple[int, ...]
    percent: float
    only_lowered: str
    idle: bool


def turn(route: Mapping[str, Any], pair: Pair, wanted: Wanted) -> Turn:
    """How to bring the route to what is wanted. A rule that cannot be read is left as it is, and said.

    Raises BadDocument where no rule has both backends, and where the route follows another rollout.
    """
    places, said = _places(route, pair)
    applied = applied_of(route)
    if applied is not None and applied.rollout != wanted.rollout:
        raise BadDocument(
            f"this route follows rollout {applied.rollout!r:.80}: stop that mirror, then remove the annotation "
            f"{ANNOTATION}"
        )
    most = max(place.percent for place in places)
    if applied is not None and applied.complete and (wanted.absent or not wanted.sure):
        # a complete flag is obeyed for ever: without one, "control" would be the model that was replaced
        return Turn((), most, True, "its rollout was completed: the weights stay")
    why_not = _why_not_raised(applied, wanted, most)
    changes: list[Mapping[str, Any]] = []
    after: list[float] = []
    target = round(wanted.percent, 2)  # what whole weights can say
    for place in places:
        raising = target > place.percent
        refusal = (place.only_lowered or why_not) if raising else ""
        if refusal:
            said = refusal
            after.append(place.percent)
            continue
        after.append(0.0 if place.only_lowered and place.percent != target else target)
        if place.percent != target or (place.idle and target < 100.0):
            changes += _weights(place, target)
    mark = _mark(applied, wanted, most, lowered=bool(changes) and target < most)
    if not changes and (said or applied == mark):
        return Turn((), max(after), not said, said)
    return Turn((*_guard(route), *changes, *_annotated(route, mark)), max(after), not said, said)


def check_route(route: Mapping[str, Any], pair: Pair, rollout: str) -> tuple[str, ...]:
    """What a trip does not change in this route, and what cannot be raised there: a sentence each.

    Raises BadDocument for a route that cannot be followed, as `turn` does.
    """
    turn(route, pair, Wanted(rollout, 0.0, 0, 0, sure=False))
    own = _namespace(route)
    places, unread = _places(route, pair)
    both = {place.rule for place in places}
    alone = sum(
        number not in both and any(pair.canary.is_meant_by(one, own) for one in backends or ())
        for number, backends in enumerate(_rules(route))
    )
    said = [place.only_lowered for place in places if place.only_lowered]
    if alone:
        said.append(f"{counted(alone, 'rule')} send to {pair.canary.name} alone: a trip does not change them")
    return (*said, unread) if unread else tuple(said)


def applied_of(route: Mapping[str, Any]) -> Applied | None:
    """What the route's annotation says; None for none, or one that is not ours to read."""
    text = (route.get("metadata", {}).get("annotations") or {}).get(ANNOTATION)
    if not isinstance(text, str) or len(text) > 1000:
        return None
    try:
        document = json.loads(text)
        return Applied(
            str(document["rollout"]),
            int(document["generation"]),
            int(document["revision"]),
            float(document["percent"]),
            document["unsure"] is True,
            document["complete"] is True,
            str(document["says"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # 1e999 is a number of JSON, and no int
        return None


def _why_not_raised(applied: Applied | None, wanted: Wanted, now: float) -> str:
    """Why the canary's share may not grow; "" where it may."""
    if not wanted.sure:
        return "not surely known"
    if applied is None or not applied.is_of(wanted):
        return ""
    if wanted.revision < applied.revision:
        return (
            f"a newer revision of the flag ({applied.revision}) was written before; after a restored backup, remove "
            f"the annotation {ANNOTATION}"
        )
    if applied.unsure:
        return ""
    return f"someone lowered the canary to {now:g}% by hand; the flag's next change sets it again"


def _mark(applied: Applied | None, wanted: Wanted, most: float, *, lowered: bool) -> Applied:
    """The annotation afterwards. It never goes back to an older revision.

    ``most``: the share that the route gave before. What a person had lowered is not marked as lowered by the unsure:
    a mirror that is sure would raise it.
    """
    generation, revision, says = wanted.generation, wanted.revision, wanted.says
    behind = applied is not None and wanted.revision < applied.revision
    unsure = not wanted.sure
    if applied is not None and behind:
        generation, revision, says = applied.generation, applied.revision, applied.says
    if applied is not None and applied.is_of(wanted) and (behind or unsure):
        by_hand = most < round(applied.percent, 2)
        unsure = applied.unsure or (lowered and not by_hand)
    return Applied(wanted.rollout, generation, revision, wanted.percent, unsure, wanted.complete, says)


def _places(route: Mapping[str, Any], pair: Pair) -> tuple[list[_Place], str]:
    """Where both backends are, and which rules cannot be read, "" for none."""
    own = _namespace(route)
    found = []
    unread = ""
    for number, backends in enumerate(_rules(route)):
        if backends is None:
            unread = f"rule {number} of the route has no list of backends: whether it sends to the canary is not known"
            continue
        canaries = [i for i, one in enumerate(backends) if pair.canary.is_meant_by(one, own)]
        control = [i for i, one in enumerate(backends) if i not in canaries and pair.control.is_meant_by(one, own)]
        if control and canaries:
            found.append(_place(number, backends, control, canaries))
    if not found:
        raise BadDocument(
            unread
            or f"no rule of the route has both backends, {pair.control.name} and {pair.canary.name}: add the missing "
            "one with `weight: 0`"
        )
    return found, unread


def _place(
    number: int, backends: Sequence[Mapping[str, Any]], control: Sequence[int], canaries: Sequence[int]
) -> _Place:
    weights = [_weight(one) for one in backends]
    known = [weight for weight in weights if weight is not None]
    taken = [weights[i] for i in canaries]
    only_lowered = ""
    if len(control) > 1 or len(canaries) > 1:
        only_lowered = "names a backend twice; say which with NAMESPACE/NAME:PORT"
    elif sum(known) > sum(weights[i] or 0 for i in (*control, *canaries)):
        only_lowered = "has a third backend with a weight"
    if len(known) < len(weights):
        only_lowered = "has a weight that is no whole number"
    if set(taken) == {0}:
        share = 0.0
    elif None in taken or len(known) < len(weights):
        share = 100.0  # it may be as much
    else:
        share = 100.0 * sum(weights[i] or 0 for i in canaries) / sum(known)
    return _Place(
        number,
        control[0],
        tuple(canaries),
        round(share, 6),
        only_lowered and f"rule {number} {only_lowered}: the canary can be lowered there, and not raised",
        idle=all(not weight for i, weight in enumerate(weights) if i not in canaries),
    )


def _rules(route: Mapping[str, Any]) -> list[Sequence[Mapping[str, Any]] | None]:
    """The backends of each rule, None for those of a rule that cannot be read. Raises BadDocument."""
    spec = route.get("spec")
    rules = spec.get("rules") if isinstance(spec, Mapping) else None
    if not isinstance(rules, list):
        raise BadDocument("the route has no list of rules")
    found: list[Sequence[Mapping[str, Any]] | None] = []
    for rule in rules:
        backends = rule.get("backendRefs") if isinstance(rule, Mapping) else 0
        backends = [] if backends is None else backends
        if isinstance(backends, list) and all(isinstance(one, Mapping) for one in backends):
            found.append(backends)
        else:
            found.append(None)
    return found


def _namespace(route: Mapping[str, Any]) -> str:
    return str(route.get("metadata", {}).get("namespace", ""))


def _weight(reference: Mapping[str, Any]) -> int | None:
    """None for what is no weight."""
    weight = reference.get("weight", 1)  # the Gateway API's default
    return weight if isinstance(weight, int) and not isinstance(weight, bool) and weight >= 0 else None


def _weights(place: _Place, percent: float) -> list[Mapping[str, Any]]:
    at = f"/spec/rules/{place.rule}/backendRefs"
    if place.only_lowered:  # to 0: the others' shares of the rest are not ours to change
        lowered: list[Mapping[str, Any]] = [
            {"op": "add", "path": f"{at}/{canary}/weight", "value": 0} for canary in place.canaries
        ]
        if place.idle:
            lowered.append({"op": "add", "path": f"{at}/{place.control}/weight", "value": WHOLE})
        return lowered
    canary = round(percent * WHOLE / 100.0)
    return [
        {"op": "add", "path": f"{at}/{place.control}/weight", "value": WHOLE - canary},
        {"op": "add", "path": f"{at}/{place.canaries[0]}/weight", "value": canary},
    ]


def _guard(route: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    version = route.get("metadata", {}).get("resourceVersion")
    return [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]


def _annotated(route: Mapping[str, Any], mark: Applied) -> list[Mapping[str, Any]]:
    text = json.dumps({
        "rollout": mark.rollout, "generation": mark.generation, "revision": mark.revision, "percent": mark.percent,
        "unsure": mark.unsure, "complete": mark.complete, "says": mark.says,
    })  # fmt: skip
    has_any = bool(route.get("metadata", {}).get("annotations"))
    first = [] if has_any else [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    return [*first, {"op": "add", "path": f"/metadata/annotations/{ANNOTATION.replace('/', '~1')}", "value": text}]
