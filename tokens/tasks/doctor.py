"""`doctor`: what was found and checked, before anything is trusted to it at night."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import invoke

from tokens.errors import ExitStatus, TokensError, UsageError
from tokens.tasks.output_option import require_output
from tokens.tasks.target_option import TARGET_HELP, locate_site
from tokens.tasks.task import task
from tokens.terminal.printable import printable

if TYPE_CHECKING:
    from tokens.inventory.diagnosis import Finding

OUTPUTS = ("text", "json")


@task(
    help={
        "target": TARGET_HELP,
        "output": "text or json. Default: text.",
        "grants": "Instead, print the least privileges for this role as SQL, for analyze, history, changes and rotate.",
    },
    travels=True,
)
def doctor(context: invoke.Context, target: str = "", output: str = "text", grants: str = "") -> None:
    """Check GitLab, its database and our privileges."""
    require_output(output, OUTPUTS)
    from tokens.inventory.diagnosis import Verdict, least_privileges

    if not grants.isprintable():
        raise UsageError("--grants takes the name of a role, without control characters.")
    if grants:
        statements = least_privileges(locate_site(context, target).address, grants)
        print(json.dumps(statements, indent=2) if output == "json" else _sql(statements))
        return
    findings = []
    for finding in _findings(context, target):
        findings.append(finding)
        if output == "text":
            print(f"{finding.verdict.upper():<5}{finding.subject:<24}{printable(finding.text)}", flush=True)
    if output == "json":
        rows = [{"subject": one.subject, "verdict": one.verdict, "text": one.text} for one in findings]
        print(json.dumps(rows, indent=2))
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        raise invoke.Exit(code=ExitStatus.FAILED)


def _findings(context: invoke.Context, target: str) -> Iterator["Finding"]:
    from tokens.inventory.diagnosis import Finding, Verdict, diagnose

    try:
        site = locate_site(context, target)
    except TokensError as error:
        yield Finding("installation", Verdict.FAIL, str(error))
        return
    if site.installation is not None:
        account = f", as account {site.account}" if site.account else ""
        version = site.installation.version or "of unknown version"
        text = f"{site.installation.kind.value}, GitLab {version} in {site.installation.rails}{account}"
        yield Finding("installation", Verdict.OK, text)
        if site.geo_secondary:
            yield Finding("Geo", Verdict.WARN, "a secondary site: analyze works, for changes go to the primary site")
        else:
            yield Finding("Geo", Verdict.OK, "no secondary site")
    yield from diagnose(site.address, release=site.release)


def _sql(statements: dict[str, list[str]]) -> str:
    """The statements for psql; what several tasks need comes several times, which does no harm."""
    parts = ["-- To be run by the tables' owner, once the role is there (CREATE ROLE … LOGIN)."]
    for name, lines in statements.items():
        parts += ["", f"-- {name}", *(f"{line};" for line in lines)]
    return "\n".join(parts)
