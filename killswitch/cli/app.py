"""The ``killswitch`` command with all its subcommands, one file each.

A subcommand's module is imported only when it runs: `killswitch trip` must not load numpy, the demo and the web server
before it begins.
"""

from __future__ import annotations

import difflib
import importlib
import keyword
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from killswitch import __version__
from killswitch.refused_value import refused_value

# what `killswitch --help` shows, one line each, without importing the commands
COMMANDS = {
    "demo": "Watch a simulated canary go bad and the kill switch trip.",
    "init": "Write the first rule file, from what is in the metric store.",
    "check": "Check rule files: all errors at once, with file, line and fix.",
    "doctor": "Examine metric source, flag store, pages and rules.",
    "page-test": "Send a harmless TEST page through each receiver.",
    "test": "Run rule tests: given series, the expected verdicts.",
    "backtest": "Replay history: show each trip the daemon would have made.",
    "power": "Simulate regressions: show how soon each would be seen.",
    "run": "Run the daemon: watch all rollouts until stopped.",
    "status": "Show every rollout's flag, and each rule's values and verdict.",
    "spend": "Show what each scope has spent, its caps, and the forecast.",
    "slow": "Show what users said and did days later, in both cohorts.",
    "explain": "Show the state of a rollout, the reason, and its incidents.",
    "incidents": "List every trip that the flag store keeps.",
    "incident show": "Tell one incident in order, for a post-mortem.",
    "log": "Show who changed a rollout's flag, from where, and why.",
    "arm": "Arm a rollout: give the canary its share of users.",
    "stage": "Raise or lower the canary's share of an armed rollout.",
    "plan": "Show the stages of a rollout's plan, with dates.",
    "ready": "Show whether a rollout may leave its stage, check by check.",
    "advance": "Take the next step of a rollout's plan.",
    "approve": "Approve that a rollout leaves its stage.",
    "hold": "Keep a rollout's plan from going on.",
    "resume": "Let a plan go on that is held.",
    "complete": "End a plan that is over: everyone gets the new model.",
    "drill": "Rehearse a trip in production, and time each leg.",
    "baseline": "Store control's last day, so that a rollout can go to 100 %.",
    "trip": "Send everyone back to the control model now, and page.",
    "rearm": "Arm a tripped rollout again, with a reason.",
    "pin": "Keep a canary at 0 % until someone unpins it, and page.",
    "unpin": "Lift a pin, with a reason; the canary stays at 0 %.",
    "end": "End a rollout: remove its flag, so everyone gets control.",
    "gate list": "List the runs of a role's gate.",
    "gate sample": "Draw a golden set, with prod's labels.",
    "gate run": "Ask a golden set of prod and candidate: PASS, FAIL or neither.",
    "gate show": "Show a run of a role's gate, and what to do next.",
    "role list": "List all roles, with the model in each slot.",
    "role show": "Show a role: slots, evidence, waiver, history.",
    "follow": "Mirror a flag into the weights of a Gateway API route.",
    "role create": "Create a role with the model that serves users already.",
    "role set-candidate": "Name the model that may come next.",
    "role promote": "Give the candidate to all users, on its gate run.",
    "role rollback": "Give users the previous model again, and page.",
    "role approve": "Approve a gate run that asks for it.",
    "role watch": "Compare a new prod with the model before.",
    "role waive": "Let a candidate go on without a passed gate.",
    "roles export": "Write all roles to a JSON file for git.",
    "roles import": "Bring the roles to what a file says, after a diff.",
    "roles probe": "Ask each pinned model for a token: is it still there?",
    "lint-models": "Find floating names of models in code and configuration.",
    "shadow judge": "Ask another model which of two answers is better.",
    "shadow worker": "Compare raw pairs from the spool, and keep the records.",
    "shadow report": "Report what recorded pairs prove: GO, NO_GO or NOT_YET.",
    "shadow decide": "Turn the shadow down once its comparison is decided.",
    "shadow forget": "Remove all records and raw pairs of a user.",
}
# the first words of commands of two words, and what the list shows for them
GROUPS = {
    "incident": "One incident: what happened when, and what is not known.",
    "role": "A role: which model services get that ask for it.",
    "roles": "All roles as a JSON file that belongs in git.",
    "gate": "The promotion gate: a golden set, four numbers, a verdict.",
    "shadow": "Shadow mode: compare a new model on real traffic, unseen.",
}


# libraries that some commands need and the daemon does not, with the extra that has each
_EXTRAS = {"scipy": "gate", "kubernetes": "gateway-api"}


class _OnDemand(TyperGroup):
    """The commands by name. Only the one that runs is imported."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  as the group's own
        return list(_listed(self._prefix))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """What the list of commands shows."""
        listed = _listed(self._prefix)
        return TyperCommand(cmd_name, short_help=listed[cmd_name]) if cmd_name in listed else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        listed = _listed(self._prefix)
        close = difflib.get_close_matches(args[0], listed, 1) if args[0] not in listed else []
        if close and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. Did you mean {close[0]}?")
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else imported(f"{self._prefix}{name}"), rest

    @property
    def _prefix(self) -> str:
        """``shadow `` in the group `shadow`."""
        return f"{self.name} " if self.name in GROUPS else ""


def _listed(prefix: str) -> dict[str, str]:
    """The next words after the prefix, each with its line of help."""
    found: dict[str, str] = {}
    for name, said in COMMANDS.items():
        if name.startswith(prefix):
            word, _, more = name.removeprefix(prefix).partition(" ")
            found[word] = GROUPS[word] if more else said
    return found


def imported(name: str) -> Any:
    """The command itself, with its options; for the first word of some commands, their group."""
    if name in GROUPS:
        return _OnDemand(name=name, help=GROUPS[name], no_args_is_help=True, rich_markup_mode=None)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    words = (word.replace("-", "_") for word in name.split(" "))
    path = ".".join(f"{word}_" if keyword.iskeyword(word) else word for word in words)
    try:
        module = importlib.import_module(f"killswitch.cli.{path}")
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        extra = _EXTRAS.get(library)
        if extra is None:
            raise
        typer.echo(f"{library} is missing; in the clone: pip install '.[daemon,{extra}]'", err=True)
        raise SystemExit(2) from error
    alone.command(name=name.rpartition(" ")[2], cls=_Command)(module.command)
    return get_command(alone)


class _Command(TyperCommand):
    """A command that refuses an option's value in our words, not in pydantic's."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().make_context(*args, **extra)
        except typer.BadParameter as error:
            # an older Typer asks click, whose words need no change
            details: list[dict[str, Any]] = getattr(error.__cause__, "errors", lambda **_: [])(include_url=False)
            if details:
                explained = getattr(error.param, "help", None)
                error.message = refused_value(details[0]) + (f" ({explained.rstrip('.')})" if explained else "")
            raise


app = typer.Typer(
    name="killswitch",
    cls=_OnDemand,
    help="Takes a bad canary of a large language model out of traffic by itself, at once, and only when it should.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: loading its panels takes twice as long as `trip` may
    pretty_exceptions_show_locals=False,  # locals may hold secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    pass
