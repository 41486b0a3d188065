"""`extend`, `remove` and `revoke`: change selected tokens, with a plan before and a record after."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from tokens import origin
from tokens.change.change import Change
from tokens.change.notes import Concern, Note, guards
from tokens.change.plan import Options, Plan, RunKind, make_plan
from tokens.commands import recording
from tokens.commands.carry_out import carry_out
from tokens.commands.consent import agreed, check_guards, end_dry_run, known, propose
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment
from tokens.commands.logged import located
from tokens.commands.options.days import EARLIEST, LATEST, day_of, days_of
from tokens.commands.options.handling import Handling
from tokens.commands.run_report import RunReport
from tokens.errors import UsageError
from tokens.gitlab.expiration import ExpirationDate
from tokens.journal import beginning
from tokens.journal.record import Recorder
from tokens.origin import Origin
from tokens.selection import DateRange, Selection
from tokens.targets.here.site import Site
from tokens.targets.places import Locate
from tokens.usage.files import Log
from tokens.usage.reading import Usage
from tokens.views import logged
from tokens.views import plan as view


def extension(_: Environment, to: str | None, by: str | None, stagger: str | None) -> Change:
    """The later dates that these options mean.

    Raises:
        UsageError: what cannot be read, or options that contradict each other.
    """
    if to is not None and by is not None:
        raise UsageError("--to and --by both choose the new date: use one of them.")
    if to is None and by is None:
        raise UsageError("Give the new date: --to DATE, or --by 90d for 90 days after each token's own date.")
    spread = 1 if stagger is None else days_of("stagger", stagger)
    if by is not None:
        return Change(by=days_of("by", by), days=spread)
    return Change(ExpirationDate.of(day_of("to", to or "")), days=spread)


def treatment(_: Environment, memberships: str, notices: str) -> Options:
    """What happens to what belongs to the tokens, as these options mean it."""
    return Options(memberships=memberships == "move", notices=notices == "rearm")


def extend(
    environment: Environment,
    locate: Locate,
    selection: Selection,
    change: Change,
    options: Options,
    handling: Handling,
    logs: Sequence[Log] | None,
) -> Ending:
    """Give selected tokens a later expiration date.

    Raises:
        TokensError: see `tokens.errors`.
    """
    if change.by is not None and None in selection.expires:
        raise UsageError("--by counts from a token's own date, so it cannot go with --expires none; use --to.")
    if change.by is not None and not selection.expires:
        selection = replace(selection, expires=(DateRange(EARLIEST, LATEST),))  # ids of any date, but with one
    return _change(environment, locate, RunKind.EXTEND, selection, change, options, handling, logs)


def remove(
    environment: Environment,
    locate: Locate,
    selection: Selection,
    options: Options,
    handling: Handling,
    logs: Sequence[Log] | None,
) -> Ending:
    """Remove the expiration date of selected tokens.

    Raises:
        TokensError: see `tokens.errors`.
    """
    return _change(environment, locate, RunKind.REMOVE, selection, Change(), options, handling, logs)


def revoke(
    environment: Environment, locate: Locate, selection: Selection, handling: Handling, logs: Sequence[Log] | None
) -> Ending:
    """Revoke selected tokens.

    Raises:
        TokensError: see `tokens.errors`.
    """
    change = Change(revokes=True)
    return _change(environment, locate, RunKind.REVOKE, selection, change, Options(), handling, logs)


def _change(
    environment: Environment,
    locate: Locate,
    kind: RunKind,
    selection: Selection,
    change: Change,
    options: Options,
    handling: Handling,
    logs: Sequence[Log] | None,
) -> Ending:
    who = origin.here()  # asked before this process may become the GitLab user
    site, usage = located(environment, locate, logs)
    cannot_ask = handling.store or handling.json or not handling.asks
    beginning.check_beforehand(
        site.address,
        kind,
        recorded=handling.journal and cannot_ask and not handling.dry_run,
        alone=not (handling.store or handling.dry_run),
        four_eyes=handling.four_eyes,
        allow=handling.allow,
    )
    with environment.announced("Making the plan"):
        plan = make_plan(site.address, kind, selection, change, options=options, release=site.release)
    report = RunReport(environment, as_json=handling.json, instance=known(site.instance, plan))
    return report.concluding(lambda: _carry_out(environment, site, plan, who, handling, report, usage))


def _carry_out(
    environment: Environment,
    site: Site,
    plan: Plan,
    who: Origin,
    handling: Handling,
    report: RunReport,
    usage: Usage | None,
) -> Ending:
    deed = view.deed(plan, plan.tokens)
    propose(_with_use(plan, report, usage), report, f"Plan to {deed} on {report.instance}")
    if not plan.tokens:
        report.say("No token is selected: there is nothing to do.")
        return DONE
    guarded = guards(plan.notes)
    check_guards(guarded, plan.tokens, handling)
    if handling.dry_run:
        return end_dry_run(report)
    if handling.store:
        recording.store(environment, site.address, plan, guarded, who, handling, report)
        return DONE
    if not agreed(environment, handling, deed, plan.tokens, report.instance):
        report.say("Nothing was changed.")
        return DONE

    def begin() -> Recorder:
        if not handling.journal:
            environment.tell(recording.NO_WAY_BACK)
            return beginning.begin_unrecorded(site.address, plan.kind, four_eyes=handling.four_eyes)
        prompts = environment.prompts() if handling.asks else None
        return recording.begin(
            environment,
            site.address,
            plan,
            who,
            reason=handling.reason,
            allow=handling.allow,
            prompts=prompts,
            names=handling.names,
            four_eyes=handling.four_eyes,
        )

    return carry_out(environment, site, plan, begin, handling, report)


def _with_use(plan: Plan, report: RunReport, usage: Usage | None) -> Plan:
    """The plan with a note first on how its tokens are used, as far as logs say so; programs get it as numbers, too."""
    if usage is None or not plan.tokens:
        return plan
    use = logged.use_of(usage, chain.from_iterable(chunk.ids for chunk in plan.chunks), plan.tokens)
    report.add(use=logged.as_dict(use, usage))
    note = Note(Concern.USED, logged.sentence(use, usage), len(use.ids), use.ids)
    return replace(plan, notes=(note, *plan.notes))
