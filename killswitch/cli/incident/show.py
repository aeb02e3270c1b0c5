"""``killswitch incident show``: one incident in order, as the first page of a post-mortem."""

from __future__ import annotations

from typing import Annotated

import typer

from killswitch.cli.invocation import JsonOption, SettingsOption, StoreOption, fail, opened, say
from killswitch.cli.terminal import json_text, one_line
from killswitch.drill.record import not_an_incident
from killswitch.flags.cited_alert import CitedAlert
from killswitch.incidents.story import IncidentStory, headline, story_of
from killswitch.incidents.tables import cohort_lines
from killswitch.wording import date_and_time, duration_in_words

IncidentArgument = Annotated[
    str, typer.Argument(metavar="INCIDENT", help="The incident's id, such as support-copilot.7.", show_default=False)
]
MarkdownOption = Annotated[bool, typer.Option("--md", help="Print Markdown, with empty parts for a post-mortem.")]
HtmlOption = Annotated[bool, typer.Option("--html", help="Print one HTML file, with charts in it.")]


def command(
    incident: IncidentArgument,
    as_markdown: MarkdownOption = False,
    as_html: HtmlOption = False,
    store: StoreOption = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell one incident in order: the first bad request, the trip, who was paged, who followed and who re-armed it.

    It reads the flag store alone, and says what is not known.
    """
    if as_markdown + as_html + as_json > 1:
        fail("give only one of --md, --html and --json")
    from killswitch.incidents.reading import NoIncident, sources_of  # noqa: PLC0415  after the options are checked

    with opened(store, settings) as (_, opened_store, _switch):
        try:
            sources = sources_of(opened_store, incident)
        except NoIncident:
            drill = not_an_incident(incident)
            if drill is None:
                raise
            fail(drill)
        story = story_of(sources)
    if as_json:
        from killswitch.incidents.json_form import story_document  # noqa: PLC0415  one form at a time

        typer.echo(json_text(story_document(story), indent=2))
    elif as_markdown:
        from killswitch.incidents.markdown import markdown  # noqa: PLC0415

        typer.echo(markdown(story), nl=False)
    elif as_html:
        from killswitch.incidents.html import html  # noqa: PLC0415

        typer.echo(html(story), nl=False)
    else:
        _print(story)


def _print(story: IncidentStory) -> None:
    say(one_line(headline(story)))
    say(one_line(f"why: {story.incident.reason}"))
    say(one_line(f"who had the canary: {story.exposed}"))
    say("")
    for entry in story.timeline:
        say(one_line(f"{date_and_time(entry.at)}  {entry.said}"))
    _print_alert(story.incident.alert)
    say("")
    for leg in story.took:
        if leg.seconds is not None:
            say(f"{leg.leg}: {duration_in_words(leg.seconds)}")
    for lines in cohort_lines(story):
        say("")
        say(one_line(f"{lines.rule}, {lines.when}; the highest block is {lines.top}"))
        say(f"  canary   {lines.canary}")
        say(f"  control  {lines.control}")
    if story.unknown:
        say("")
        say("not known:")
        for one in story.unknown:
            say(one_line(f"  {one}"))
    say("")
    say(f"To paste it: killswitch incident show {one_line(story.id)} --md")


def _print_alert(alert: CitedAlert | None) -> None:
    if alert is None:
        return
    say("")
    say(one_line(f"the alert {alert.name}:"))
    for name, text in (*alert.labels, *alert.annotations, ("from", alert.generator_url)):
        say(one_line(f"  {name}: {text}"))
