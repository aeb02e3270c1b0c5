"""The two kinds of the Prometheus Operator that we use, for a real API server: what is not in them is refused."""

from __future__ import annotations

from typing import Any

GROUP = "monitoring.coreos.com"
_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_DURATION = {
    "type": "string",
    "pattern": r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$",
}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


# as in its own definitions, without the fields that we do not use
_SPECS = {
    "ServiceMonitor": _object(
        ("selector", "endpoints"),
        selector=_object((), matchLabels=_TEXTS),
        endpoints=_list(_object((), port=_TEXT, path=_TEXT, interval=_DURATION)),
    ),
    "PrometheusRule": _object(
        (),
        groups=_list(
            _object(
                ("name",),
                name=_TEXT,
                rules=_list(
                    _object(
                        ("expr",),
                        **{"alert": _TEXT, "expr": _TEXT, "for": _DURATION, "labels": _TEXTS, "annotations": _TEXTS},
                    )
                ),
            )
        ),
    ),
}


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions."""
    return [_definition(kind, spec) for kind, spec in _SPECS.items()]


def _definition(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {"spec": spec}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }
