"""What a service may do with a stream of its client, it may do with the one that is looked at in passing."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from killswitch.router import CohortMetrics
from killswitch.router.integrations.openai import CountedAsyncStream, CountedStream
from tests.doubles.held_split import router_over, shadowed


@pytest.mark.parametrize("kind", [CountedStream, CountedAsyncStream])
def test_a_stream_can_be_copied(kind: Any) -> None:
    router, _ = router_over(shadowed())
    stream = SimpleNamespace(response="of the client")
    served = CohortMetrics(router).request(router.route("ann"), user="ann")
    assert copy.copy(kind(stream, served)).response == "of the client"
