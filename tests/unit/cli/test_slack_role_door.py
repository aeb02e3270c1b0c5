"""A re-arm from Slack is a door to a candidate's users as well: it asks for what `killswitch rearm` asks for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from killswitch.errors import Refused
from killswitch.interaction.deeds import Deeds
from killswitch.model import PageSettings
from killswitch.pages.receivers.slack_buttons import ButtonValue
from killswitch.roles.gate_record import GateVerdict
from killswitch.rules.loading import load_folder
from killswitch.rules.role_files import load_roles
from killswitch.stores import Store
from killswitch.stores.opening import open_store
from killswitch.trips.stored_flags import StoredFlags
from tests.unit.cli.role_shell import candidate, passed, percent, rests_on, waived, with_role
from tests.unit.cli.shell import Shell

ANN = "Ann Lee (U0ANN0001)"


@pytest.fixture
def tripped(shell: Shell) -> Shell:
    """Prod and candidate were armed on a run that passed, and tripped; a newer run has failed."""
    role = with_role(shell)
    passed(role)
    assert role("arm", "copilot", "--stage", "ramp_1", "--yes").exit_code == 0
    assert role("trip", "copilot", "--reason", "bad", "--yes").exit_code == 0
    passed(role, verdict=GateVerdict.FAIL, age=0.0, run="b2")
    return role


@pytest.fixture
def store(tripped: Shell) -> Iterator[Store]:
    store = open_store(tripped.store)
    yield store
    store.close()


def rearmed(shell: Shell, store: Store, *, rules: bool = True) -> str:
    """A person re-arms from the dialog; what they read. Raises as `Deeds.rearm`."""
    rollouts = {one.name: one for one in load_folder(shell.rules).rollouts} if rules else {}
    deeds = Deeds(
        store,
        wall=time.time,
        rollouts=lambda: rollouts,
        roles=lambda: load_roles(shell.folder / "roles"),
        page_settings=lambda _: PageSettings(),
    )
    stored = StoredFlags(store).required("copilot")
    assert stored.flag is not None
    value = ButtonValue("copilot", stored.flag.generation, stored.revision, "0f" * 16, int(time.time()) + 3600)
    return deeds.rearm(value, ANN, reason="fixed", stage="ramp_1", new_users=False).said


@pytest.mark.parametrize("rules", [True, False])
def test_a_rearm_from_slack_needs_evidence_that_holds_now(tripped: Shell, store: Store, *, rules: bool) -> None:
    """Also on a replica that has no rule file of it."""
    with pytest.raises(Refused, match="gate run support"):
        rearmed(tripped, store, rules=rules)
    assert percent(tripped) == 0.0
    waived(tripped)
    assert "is armed again" in rearmed(tripped, store, rules=rules)
    pair = rests_on(tripped, generation=2)
    assert pair is not None
    assert str(pair.waiver).endswith("the gate's provider is down")


def test_another_candidate_is_not_rearmed_from_slack(tripped: Shell, store: Store) -> None:
    """The role pins another model by now, and the flag would give users the old candidate."""
    waived(tripped)
    candidate(tripped, "model-newer")
    with pytest.raises(Refused):
        rearmed(tripped, store)
    assert percent(tripped) == 0.0
