"""An incident's story as JSON: the stored incident, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

from killswitch.flags.incident import to_document
from killswitch.incidents.story import IncidentStory
from killswitch.timestamps import to_iso


def story_document(story: IncidentStory) -> dict[str, Any]:
    """As JSON. ``incident`` is the stored document; every other text is one line of printable characters."""
    return {
        "id": story.id,
        "incident": json.loads(to_document(story.incident)),
        "timeline": [
            {"at": to_iso(entry.at), "moment": entry.moment.value, "said": entry.said} for entry in story.timeline
        ],
        "took_seconds": {
            leg.leg.replace(" ", "_").replace("-", "_"): None if leg.seconds is None else round(leg.seconds, 3)
            for leg in story.took
        },
        "exposed": story.exposed,
        "not_known": list(story.unknown),
    }
