"""A route's weights follow the flag: lowering is always right, raising needs a flag that is known and newer."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, BadSettings
from killswitch.gateway.weights import ANNOTATION, Backend, Pair, Turn, Wanted, backend, check_route, turn

PAIR = Pair(Backend("old"), Backend("new"))
ARMED = Wanted("copilot", 5.0, 3, 70, sure=True, says="document 1000")
TRIPPED = replace(ARMED, percent=0.0, revision=71, says="document 2000")
CUT_OFF = replace(ARMED, percent=0.0, sure=False)
RAISED = replace(ARMED, percent=25.0, revision=72, says="document 3000")
UNREAD = Wanted("copilot", 0.0, 0, 0, sure=False)


def route(*weights: int | None, more: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """One rule with ``old`` and ``new``; a weight of None is left out, as the Gateway API allows."""
    names = ("old", "new")
    backends = [
        {"name": name, "port": 80, **({} if weight is None else {"weight": weight})}
        for name, weight in zip(names, weights, strict=True)
    ]
    metadata = {"name": "support", "namespace": "shop", "resourceVersion": "17"}
    return {"metadata": metadata, "spec": {"rules": [{"backendRefs": [*backends, *(more or [])]}]}}


def patched(found: dict[str, Any], done: Turn) -> dict[str, Any]:
    """What the API server makes of the patch: RFC 6902, as far as it is used here."""
    after = copy.deepcopy(found)
    for change in done.patch:
        *way, last = [part.replace("~1", "/") for part in change["path"].split("/")[1:]]
        place: Any = after
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if change["op"] == "test":
            assert place[last] == change["value"]
        else:
            place[last] = change["value"]
    return after


def share(found: dict[str, Any], rule: int = 0) -> float:
    weights = {one["name"]: one.get("weight", 1) for one in found["spec"]["rules"][rule]["backendRefs"]}
    return float(100.0 * weights["new"] / sum(weights.values()))


class TestFollowing:
    def test_an_armed_flag_gives_the_canary_its_percent(self) -> None:
        done = turn(route(1, 0), PAIR, ARMED)
        assert share(patched(route(1, 0), done)) == 5.0
        assert (done.percent, done.reached) == (5.0, True)

    def test_a_trip_gives_everyone_control(self) -> None:
        before = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        assert share(patched(before, turn(before, PAIR, TRIPPED))) == 0.0

    def test_weights_that_are_left_out_are_one(self) -> None:
        """Two backends without weights share the traffic, so the canary has half of it."""
        done = turn(route(None, None), PAIR, TRIPPED)
        assert share(patched(route(None, None), done)) == 0.0

    def test_every_rule_with_both_follows(self) -> None:
        found = route(1, 1)
        found["spec"]["rules"].append(copy.deepcopy(found["spec"]["rules"][0]))
        after = patched(found, turn(found, PAIR, ARMED))
        assert [share(after, rule) for rule in (0, 1)] == [5.0, 5.0]

    def test_a_second_look_writes_nothing(self) -> None:
        after = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        assert turn(after, PAIR, ARMED) == Turn((), 5.0, reached=True)

    def test_weights_of_another_sum_stay_as_they_are(self) -> None:
        done = turn(route(95, 5), PAIR, ARMED)
        assert not any("weight" in change["path"] for change in done.patch)

    def test_a_percent_between_two_weights_is_written_once(self) -> None:
        third = replace(ARMED, percent=100 / 3)
        after = patched(route(1, 0), turn(route(1, 0), PAIR, third))
        assert share(after) == 33.33
        assert turn(after, PAIR, third).patch == ()

    def test_a_rule_in_which_nothing_has_weight_serves_again(self) -> None:
        """The Gateway API answers 500 to every request of such a rule."""
        after = patched(route(0, 0), turn(route(0, 0), PAIR, TRIPPED))
        assert [one["weight"] for one in after["spec"]["rules"][0]["backendRefs"]] == [10_000, 0]

    def test_a_completed_rollout_gives_everyone_the_new_model(self) -> None:
        complete = Wanted("copilot", 100.0, 3, 80, sure=True, complete=True)
        after = patched(route(1, 0), turn(route(1, 0), PAIR, complete))
        assert share(after) == 100.0
        ended = Wanted("copilot", 0.0, 0, 81, sure=True, absent=True)
        closed = replace(CUT_OFF, generation=0, revision=81)  # at SIGTERM, and while the store cannot be read
        for wanted in (ended, closed):
            done = turn(after, PAIR, wanted)
            assert (done.patch, done.percent) == ((), 100.0)

    def test_an_ended_rollout_gives_everyone_control(self) -> None:
        before = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        ended = Wanted("copilot", 0.0, 0, 81, sure=True, absent=True)
        assert share(patched(before, turn(before, PAIR, ended))) == 0.0


class TestReplicasAndPeople:
    def test_an_older_flag_does_not_raise_what_a_trip_lowered(self) -> None:
        """One replica has seen the trip, the other has not yet."""
        tripped = patched(route(1, 1), turn(route(1, 1), PAIR, TRIPPED))
        done = turn(tripped, PAIR, ARMED)
        assert (done.patch, done.percent, done.reached) == ((), 0.0, False)
        assert "newer revision" in done.said

    def test_a_replica_that_knows_more_raises_after_an_unsure_one(self) -> None:
        armed = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        lowered = patched(armed, turn(armed, PAIR, CUT_OFF))
        assert share(lowered) == 0.0
        assert share(patched(lowered, turn(lowered, PAIR, ARMED))) == 5.0

    def test_an_unsure_replica_never_raises(self) -> None:
        unsure = replace(ARMED, sure=False, revision=99)
        assert turn(route(1, 0), PAIR, unsure).percent == 0.0

    def test_a_person_who_lowers_is_not_overruled(self) -> None:
        armed = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        armed["spec"]["rules"][0]["backendRefs"][1]["weight"] = 0
        done = turn(armed, PAIR, ARMED)
        assert (done.patch, done.reached) == ((), False)
        assert "by hand" in done.said
        assert share(patched(armed, turn(armed, PAIR, RAISED))) == 25.0

    @pytest.mark.parametrize("unsure", [CUT_OFF, UNREAD])
    @pytest.mark.parametrize("weight", [0, 200])
    def test_nor_by_a_mirror_that_was_unsure_meanwhile(self, unsure: Wanted, weight: int) -> None:
        """A mirror that ends or starts is unsure; one that is sure after it does not raise what a person lowered."""
        found = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        found["spec"]["rules"][0]["backendRefs"][1]["weight"] = weight
        for wanted in (unsure, unsure, ARMED):
            found = patched(found, turn(found, PAIR, wanted))
        assert share(found) == 0.0
        assert share(patched(found, turn(found, PAIR, RAISED))) == 25.0

    def test_nor_by_a_drill(self) -> None:
        """A rehearsal writes the same flag again: it has a newer revision, and says nothing new."""
        found = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        found["spec"]["rules"][0]["backendRefs"][1]["weight"] = 0
        assert share(patched(found, turn(found, PAIR, replace(ARMED, revision=75)))) == 0.0

    def test_an_older_flag_leaves_the_mark_of_an_unsure_mirror(self) -> None:
        """Both want control; without the mark the newer flag's share would look as lowered by hand."""
        found = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        for wanted in (CUT_OFF, replace(ARMED, percent=0.0, revision=60, says="document 900"), ARMED):
            found = patched(found, turn(found, PAIR, wanted))
        assert share(found) == 5.0

    def test_a_flag_that_changed_while_a_mirror_was_unsure_is_obeyed(self) -> None:
        found = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        found["spec"]["rules"][0]["backendRefs"][1]["weight"] = 0
        for wanted in (replace(RAISED, percent=0.0, sure=False), RAISED):
            found = patched(found, turn(found, PAIR, wanted))
        assert share(found) == 25.0

    def test_a_person_who_raises_is_overruled(self) -> None:
        armed = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        armed["spec"]["rules"][0]["backendRefs"][1]["weight"] = 5000
        assert share(patched(armed, turn(armed, PAIR, ARMED))) == 5.0

    def test_a_trip_after_a_restored_backup_still_lowers(self) -> None:
        """The store's revisions have gone back, so the flag that is tripped now looks older."""
        armed = patched(route(1, 0), turn(route(1, 0), PAIR, ARMED))
        restored = Wanted("copilot", 0.0, 2, 20, sure=True)
        after = patched(armed, turn(armed, PAIR, restored))
        assert share(after) == 0.0
        assert json.loads(after["metadata"]["annotations"][ANNOTATION])["revision"] == 70

    def test_the_route_of_another_rollout_is_left_alone(self) -> None:
        other = patched(route(1, 0), turn(route(1, 0), PAIR, replace(ARMED, rollout="other")))
        with pytest.raises(BadDocument, match="other"):
            turn(other, PAIR, TRIPPED)

    @pytest.mark.parametrize(
        "text",
        ["", "{}", "[]", "null", "7", '{"rollout": 1}', "x" * 5000, '{"rollout": "a", "generation": 1e999}'],
    )
    def test_an_annotation_that_says_nothing_stops_no_trip(self, text: str) -> None:
        found = route(1, 1)
        found["metadata"]["annotations"] = {ANNOTATION: text}
        assert share(patched(found, turn(found, PAIR, TRIPPED))) == 0.0


class TestRoutesThatCannotBeFollowed:
    @pytest.mark.parametrize(
        "found",
        [
            {}, {"spec": {}}, {"spec": {"rules": "x"}}, {"spec": {"rules": [{"backendRefs": "x"}]}},
            {"spec": {"rules": [{"backendRefs": [7]}]}}, {"spec": {"rules": [{}]}},
            {"spec": {"rules": [{"backendRefs": [{"name": "old"}]}]}},
            {"spec": {"rules": [7]}},
        ],
    )  # fmt: skip
    def test_it_is_refused_with_a_reason(self, found: dict[str, Any]) -> None:
        with pytest.raises(BadDocument):
            check_route(found, PAIR, "copilot")

    def test_a_third_backend_is_lowered_with_and_not_raised(self) -> None:
        found = route(50, 25, more=[{"name": "third", "weight": 25}])
        after = patched(found, turn(found, PAIR, TRIPPED))
        assert [one["weight"] for one in after["spec"]["rules"][0]["backendRefs"]] == [50, 0, 25]
        done = turn(route(1, 0, more=[{"name": "third", "weight": 1}]), PAIR, ARMED)
        assert (done.percent, done.reached) == (0.0, False)

    def test_rules_for_testers_are_counted(self) -> None:
        found = route(1, 0)
        found["spec"]["rules"].append({"backendRefs": [{"name": "new"}]})
        assert check_route(found, PAIR, "copilot") == ("1 rule send to new alone: a trip does not change them",)

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ([{"name": "new", "port": 81}], "names a backend twice"), ([{"name": "old"}], "names a backend twice"),
            ([{"name": "third", "weight": "5"}], "no whole number"), ([{"name": "third"}], "a third backend"),
        ],
    )  # fmt: skip
    def test_a_rule_that_is_unclear_is_lowered_and_said(self, more: list[dict[str, Any]], said: str) -> None:
        """A trip does not wait for a person who corrects the route."""
        found = route(1, 1, more=more)
        assert said in check_route(found, PAIR, "copilot")[0]
        after = patched(found, turn(found, PAIR, TRIPPED))
        assert {one.get("weight", 1) for one in after["spec"]["rules"][0]["backendRefs"] if one["name"] == "new"} == {0}
        done = turn(route(1, 0, more=[{"name": "new", "weight": 0}]), PAIR, ARMED)
        assert (done.percent, done.reached) == (0.0, False)

    def test_one_rule_that_cannot_be_read_stops_no_other(self) -> None:
        found = route(1, 1)
        found["spec"]["rules"].insert(0, {"backendRefs": "x"})
        done = turn(found, PAIR, TRIPPED)
        assert share(patched(found, done), rule=1) == 0.0
        assert (done.reached, "rule 0" in done.said) == (False, True)

    def test_one_service_with_two_ports_is_two_backends(self) -> None:
        found = route(1, 1)
        found["spec"]["rules"][0]["backendRefs"] = [{"name": "llm", "port": 80}, {"name": "llm", "port": 81}]
        after = patched(found, turn(found, Pair(Backend("llm"), Backend("llm", port=81)), ARMED))
        assert [one["weight"] for one in after["spec"]["rules"][0]["backendRefs"]] == [9500, 500]


@given(
    st.integers(0, 1_000_000), st.integers(0, 1_000_000), st.floats(0, 100).map(lambda x: round(x, 2)),
    st.booleans(), st.integers(1, 5), st.integers(1, 5),
)  # fmt: skip
def test_no_look_ever_gives_the_canary_more_than_it_may_have(
    control: int, canary: int, percent: float, sure: bool, revision: int, before: int
) -> None:
    """Whatever the weights and what was written before: the share after a look is at most what is wanted, or as it was
    where that is less.
    """
    found = route(control, canary)
    if before < 4:
        found = patched(found, turn(found, PAIR, Wanted("copilot", 50.0, 1, before, sure=True)))
    was = share(found) if sum(one["weight"] for one in found["spec"]["rules"][0]["backendRefs"]) else 0.0
    wanted = Wanted("copilot", percent, 1, revision, sure=sure)
    after = patched(found, turn(found, PAIR, wanted))
    weights = [one["weight"] for one in after["spec"]["rules"][0]["backendRefs"]]
    now = 100.0 * weights[1] / sum(weights) if sum(weights) else 0.0
    assert now <= max(percent, 0.0) + 0.005
    if not sure:
        assert now <= was + 0.005


_WEIGHT: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 1_000_000), st.sampled_from([None, "5", -1, True, 0.5, [], {}])
)
_REFERENCE = st.one_of(
    st.builds(
        lambda name, weight, more: {"name": name, **more, **({} if weight is None else {"weight": weight})},
        st.sampled_from(["old", "new", "third", 7]),
        _WEIGHT,
        st.sampled_from([{}, {"port": 80}, {"filters": [{}]}, {"namespace": "shop"}, {"namespace": "models"}]),
    ),
    st.just(7),
)
_RULE = st.one_of(
    st.lists(_REFERENCE, max_size=5).map(lambda found: {"backendRefs": found}),
    st.sampled_from([{}, {"backendRefs": None}, {"backendRefs": "x"}, 7]),
)


@given(st.lists(_RULE, min_size=1, max_size=70), st.booleans())
@example([{"backendRefs": [{"name": "new"}, {"name": "old"}, {"name": "new", "port": 80}]}], True)
@example([{"backendRefs": [{"name": "new"}, {"name": "old", "weight": 0}, {"name": "new", "port": 80}]}], True)
def test_a_trip_ends_the_canary_in_every_rule_with_both(rules: list[Any], sure: bool) -> None:
    """Backends named twice or three times, weights left out or spoiled, spoiled rules between them."""
    found = route(1, 1)
    found["spec"]["rules"] += rules
    after = patched(found, turn(found, PAIR, replace(TRIPPED, sure=sure)))
    for rule in after["spec"]["rules"]:
        backends = rule.get("backendRefs") if isinstance(rule, dict) else None
        if not isinstance(backends, list) or 7 in backends:
            continue
        own = [one for one in backends if one.get("namespace", "shop") == "shop"]
        if {"old", "new"} <= {one["name"] for one in own}:
            assert all(one.get("weight", 1) == 0 for one in own if one["name"] == "new")
            assert any(one.get("weight", 1) for one in backends)  # else every request fails


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("new", Backend("new")), ("models/new", Backend("new", "models")),
        ("models/new:8080", Backend("new", "models", 8080)), ("new.v2:80", Backend("new.v2", None, 80)),
    ],
)  # fmt: skip
def test_a_backend_is_named_as_in_the_route(text: str, wanted: Backend) -> None:
    assert backend(text) == wanted


@pytest.mark.parametrize("text", ["", "a/b/c", "New", "new:port", "-x", "a b"])
def test_what_names_no_backend_is_refused(text: str) -> None:
    with pytest.raises(BadSettings, match="NAMESPACE/NAME"):
        backend(text)


def test_a_backend_of_another_namespace_is_another() -> None:
    found = route(1, 1)
    found["spec"]["rules"][0]["backendRefs"][1]["namespace"] = "models"
    with pytest.raises(BadDocument, match="both backends"):
        turn(found, PAIR, TRIPPED)
    assert turn(found, Pair(Backend("old"), Backend("new", "models")), TRIPPED).percent == 0.0
