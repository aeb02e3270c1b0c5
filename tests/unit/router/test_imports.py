"""What importing the SDK loads: it lives in other people's services, which pay for every module."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.simulation

# each of these costs milliseconds or megabytes, and a service may never need it
HEAVY = frozenset(
    (
        *("prometheus_client", "sqlite3", "ssl", "http", "http.client", "urllib.request", "email", "html", "asyncio"),
        *("requests", "numpy", "pydantic", "yaml", "typer", "rich", "starlette", "etcd3gw", "concurrent.futures"),
        *(
            "multiprocessing",
            "subprocess",
            "tempfile",
            "unittest",
            "importlib.metadata",
            "opentelemetry",
            "openfeature",
        ),
    )
)
IMPORT = "from killswitch.router import *"
MADE = "from killswitch.router import Router; router = Router('copilot', '{store}', registry=None); router.close()"


def loaded_by(statements: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after ``statements`` and not before."""
    code = (
        "import json, sys\nbefore = set(sys.modules)\n"
        f"{statements}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    )
    return set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))


def test_importing_the_sdk_loads_no_heavy_library() -> None:
    """Importing the SDK loads no metrics library, no database and no network client."""
    loaded = loaded_by(IMPORT)
    assert loaded & HEAVY == set()
    own = {name for name in loaded if name.partition(".")[0] == "killswitch"}
    assert "killswitch.router.router" in own
    adapters = ("killswitch.stores.etcd", "killswitch.stores.sqlite", "killswitch.stores.file")
    assert not {name for name in own if name.startswith(adapters)}, "a store's reader"
    outside = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert outside == {"killswitch"}


@pytest.mark.parametrize("integration", ["asgi", "openai", "anthropic"])
def test_an_integration_without_a_shadow_loads_none(integration: str) -> None:
    """A service that has no shadow does not pay for its modules."""
    loaded = loaded_by(f"import killswitch.router.integrations.{integration}")
    assert not {name for name in loaded if name.startswith("killswitch.router.shadow")}
    assert loaded & HEAVY == {"http"} & loaded  # cookies, of the ASGI middleware


@pytest.mark.parametrize(
    ("store", "needed"),
    [
        ("file:///nonexistent/flag.json", set()),
        ("sqlite:///nonexistent/flags.db", {"sqlite3"}),
        ("etcd://127.0.0.1:1", {"http", "http.client", "ssl", "email"}),
    ],
)
def test_a_router_loads_only_what_its_own_store_needs(store: str, needed: set[str]) -> None:
    """A router loads what its own store needs, and nothing that only the others need."""
    assert loaded_by(MADE.format(store=store)) & HEAVY == needed


def test_the_metrics_library_is_loaded_when_metrics_are_made() -> None:
    assert "prometheus_client" in loaded_by("from killswitch.router import CohortMetrics; CohortMetrics()")
    assert "prometheus_client" in loaded_by(MADE.format(store="file:///none.json").replace(", registry=None", ""))


@pytest.mark.parametrize(
    ("integration", "hidden", "install"),
    [
        ("litellm", "litellm", "pip install 'litellm>=1.80,<2'"),
        ("openfeature", "openfeature", "pip install 'openfeature-sdk>=0.8,<1'"),
        ("opentelemetry", "opentelemetry", "pip install 'opentelemetry-sdk>=1.29,<2'"),
    ],
)
def test_an_integration_without_its_library_says_what_to_install(integration: str, hidden: str, install: str) -> None:
    """An integration whose library is not installed says what to install."""
    code = (
        f"import sys\nsys.modules[{hidden!r}] = None\n"
        f"try:\n    import killswitch.router.integrations.{integration}\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert install in done.stdout
