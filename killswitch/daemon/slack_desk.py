"""Builds what answers people in Slack: the desk, the socket where there is an app-level token, and the request URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from killswitch.daemon.secrets_of_settings import secret
from killswitch.daemon.settings import Settings
from killswitch.daemon.wiring import build_store
from killswitch.model import PageSettings, Rollout
from killswitch.net.credentials import Secret
from killswitch.pages.page import Page
from killswitch.roles.config import RoleConfig
from killswitch.rules.loading import Rules
from killswitch.status.reports import CycleReport
from killswitch.status.self_metrics import SelfMetrics
from killswitch.stores import Store

if TYPE_CHECKING:
    from killswitch.interaction.desk import FrontDesk
    from killswitch.interaction.request_url import RequestUrl
    from killswitch.interaction.slack_api import SlackApi
    from killswitch.interaction.socket_mode import SlackSocket
    from killswitch.interaction.workers import Workers

_STOP_WITHIN = 1.0


class SlackDesk:
    """What runs of it. Without an app-level token and a signing secret there is nothing, and nothing is loaded."""

    def __init__(self) -> None:
        self.request_url: RequestUrl | None = None
        self._socket: SlackSocket | None = None
        self._workers: Workers | None = None
        self._store: Store | None = None
        self._api: SlackApi | None = None

    def start(self) -> None:
        if self._socket is not None:
            self._socket.start()

    def close(self) -> None:
        """Takes at most two seconds: what was pressed and not begun is dropped, and Slack shows no effect."""
        if self._socket is not None:
            self._socket.stop()
        if self._workers is not None:
            self._workers.close(_STOP_WITHIN / 4)
        if self._store is not None:
            self._store.close()
        if self._api is not None:
            self._api.close()

    def built(
        self,
        settings: Settings,
        *,
        rollouts: Callable[[], Mapping[str, Rollout]],
        roles: Callable[[], Mapping[str, RoleConfig]],
        page_settings: Callable[[str], PageSettings],
        latest: Callable[[], CycleReport | None],
        metrics: SelfMetrics,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> SlackDesk:
        """This desk, with what the settings ask for. Raises BadSettings."""
        token = secret(settings, "slack_token")
        app_token, signing = secret(settings, "slack_app_token"), secret(settings, "slack_signing_secret")
        if token is None or (app_token is None and signing is None):
            return self
        from killswitch.interaction.deeds import Deeds  # noqa: PLC0415  only where Slack may press
        from killswitch.interaction.desk import FrontDesk  # noqa: PLC0415
        from killswitch.interaction.people import People  # noqa: PLC0415
        from killswitch.interaction.slack_api import SlackApi  # noqa: PLC0415
        from killswitch.interaction.workers import Workers  # noqa: PLC0415

        # a store and a session of its own: what hangs here holds up no cycle and no flip
        self._store = build_store(settings)
        self._api = SlackApi(base_url=settings.slack_base_url)
        self._workers = Workers()
        desk = FrontDesk(
            api=self._api,
            token=token,
            people=People(self._api, token, monotonic=monotonic),
            deeds=Deeds(self._store, wall=wall, rollouts=rollouts, roles=roles, page_settings=page_settings),
            workers=self._workers,
            rollouts=rollouts,
            latest=latest,
            wall=wall,
            monotonic=monotonic,
            count=lambda what, outcome: metrics.slack_presses.labels(what, outcome).inc(),
        )
        self._opened(desk, app_token, signing, settings=settings, metrics=metrics, wall=wall)
        return self

    def _opened(
        self,
        desk: FrontDesk,
        app_token: Secret | None,
        signing: Secret | None,
        *,
        settings: Settings,
        metrics: SelfMetrics,
        wall: Callable[[], float],
    ) -> None:
        """The ways by which presses reach the desk."""
        from killswitch.interaction.request_url import RequestUrl  # noqa: PLC0415
        from killswitch.interaction.socket_mode import SlackSocket  # noqa: PLC0415

        assert self._api is not None
        if signing is not None:
            self.request_url = RequestUrl(signing, desk, wall=wall)
        if app_token is not None:
            self._socket = SlackSocket(
                self._api,
                app_token,
                desk,
                base_url=settings.slack_base_url,
                connected=lambda there: metrics.slack_socket_connected.set(float(there)),
            )


def someone_may_press(rules: Callable[[], Rules]) -> Callable[[Page], bool]:
    """Whether a rule file names someone who may press the buttons of a page: without, its message has none."""

    def may(page: Page) -> bool:
        rollout = rules().rollouts.get(page.rollout)
        return rollout is not None and bool(rollout.page.slack_allow)

    return may
