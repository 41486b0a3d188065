"""`doctor`: what was found and checked, before anything is trusted to it at night."""

from collections.abc import Iterator

from tokens.call import current
from tokens.commands.ending import DONE, Ending
from tokens.commands.environment import Environment, for_people
from tokens.commands.instance import described
from tokens.commands.show import show
from tokens.errors import ExitStatus, TokensError, UsageError
from tokens.inventory.diagnosis import Finding, Verdict, diagnose, least_privileges
from tokens.targets.here.site import Site
from tokens.targets.instance import Instance
from tokens.targets.places import Locate
from tokens.views import diagnosis as view


def doctor(environment: Environment, locate: Locate, output: str, grants: str | None) -> Ending:
    """Check GitLab, its database and our privileges; with `grants` print what the role of that name needs instead."""
    if grants:
        if not grants.isprintable() or "://" in grants:
            raise UsageError("--grants takes the name of a role, without control characters and not as an address.")
        site = locate()
        with environment.announced("Looking at the database"):
            statements = least_privileges(site.address, grants, ci=site.ci)
        show(
            environment,
            output,
            text=lambda: view.grants_as_sql(statements),
            json=lambda: view.grants_as_json(statements, described(site)),
        )
        return DONE
    failed = False
    found: Site | None = None

    def named() -> Site:
        nonlocal found
        found = locate()
        return found

    def instance() -> Instance:
        return Instance(target=current().place) if found is None else described(found)

    def looked_at() -> Iterator[Finding]:
        nonlocal failed
        findings = _findings(named)
        while True:
            with environment.announced("Looking at the database"):
                finding = next(findings, None)
            if finding is None:
                return
            failed = failed or finding.verdict is Verdict.FAIL
            yield finding

    show(
        environment,
        output,
        text=lambda: (for_people(line, environment.stdout, view.HANGING) for line in view.lines(looked_at())),
        json=lambda: view.as_json(list(looked_at()), instance()),
        at_once=True,
    )
    return Ending(ExitStatus.FAILED) if failed else DONE


def _findings(locate: Locate) -> Iterator[Finding]:
    try:
        site = locate()
    except TokensError as error:
        yield Finding("installation", Verdict.FAIL, str(error))
        return
    if site.installation is not None:
        account = f", as account {site.account}" if site.account else ""
        version = site.installation.version or "of unknown version"
        text = f"{site.installation.method.value}, GitLab {version} in {site.installation.rails}{account}"
        yield Finding("installation", Verdict.OK, text)
        if site.geo_secondary:
            yield Finding(
                "Geo",
                Verdict.WARN,
                "a secondary site: every task that only reads works, for changes go to the primary site",
            )
        else:
            yield Finding("Geo", Verdict.OK, "no secondary site")
    yield from diagnose(site.address, release=site.release, ci=site.ci)
