"""A tripped rollout in a store, and what people in Slack do to it."""

from __future__ import annotations

from collections.abc import Mapping

from killswitch import __version__
from killswitch.flags.flag import Flag
from killswitch.flags.incident import IncidentDraft
from killswitch.flags.transitions import Actor
from killswitch.interaction.deeds import Deeds
from killswitch.model import PageSettings, Rollout
from killswitch.pages.receivers.slack_buttons import ButtonValue
from killswitch.roles.config import RoleConfig
from killswitch.rules.loading import load_text
from killswitch.stores import Store
from killswitch.trips.request import TripRequest
from killswitch.trips.stored_flags import StoredFlags
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.slack_payloads import NEVER, NONCE

ROLLOUT = "support-copilot"
RULES = f"rollout: {ROLLOUT}\ncontrol: model-old\ncanary: model-new\npage: {{slack_allow: [U0ANN0001, S0ONCALL1]}}\n"


def rollouts(text: str = RULES) -> Mapping[str, Rollout]:
    return {one.name: one for one in load_text(text.encode(), name="f.yaml").rollouts}


class Scene:
    """``store``: of one replica. The rollout is armed at 5 % and tripped."""

    def __init__(self, store: Store, clock: VirtualClock, *, rules: str = RULES) -> None:
        self.store = store
        self.clock = clock
        self.rollouts = rollouts(rules)
        self.roles: Mapping[str, RoleConfig] = {}
        self.by_hand = Switch(store, wall=clock.wall, by="dana", origin="command line")

    def deeds(self, store: Store | None = None) -> Deeds:
        return Deeds(
            store or self.store,
            wall=self.clock.wall,
            rollouts=lambda: self.rollouts,
            roles=lambda: self.roles,
            page_settings=lambda _: PageSettings(slack="#llm-oncall"),
        )

    def arm(self, stage: str = "ramp_5", percent: float = 5.0) -> Flag:
        return self.by_hand.arm(
            ROLLOUT, control="model-old", canary="model-new", percent=percent, stage=stage, salt="salt"
        )

    def trip(self) -> None:
        self.by_hand.trip(self._request())

    def pin(self) -> None:
        self.by_hand.pin(self._request())

    def _request(self) -> TripRequest:
        self.clock.advance(60.0)
        draft = IncidentDraft(
            rollout=ROLLOUT,
            automatic=True,
            by="kill-1",
            reason="refusal_rate 8.7% over control",
            rules=(),
            findings=(),
            decided_at=self.clock.wall(),
            version=__version__,
        )
        return TripRequest(draft, None, Actor.CONTROLLER, self.clock.wall(), PageSettings())

    def flag(self) -> Flag | None:
        return StoredFlags(self.store).stored(ROLLOUT).flag

    def value(self, nonce: str = NONCE) -> ButtonValue:
        """The value of a button on a message that is sent now."""
        stored = StoredFlags(self.store).required(ROLLOUT)
        assert stored.flag is not None
        return ButtonValue(ROLLOUT, stored.flag.generation, stored.revision, nonce, NEVER)
