"""How a breakdown looks: one fact a line, and JSON."""

import dataclasses
from collections.abc import Iterator

from tokens.inventory.breakdown import HURTFUL, Breakdown
from tokens.inventory.policy import facts
from tokens.selection import Selection
from tokens.targets.instance import Instance
from tokens.terminal.paragraphs import laid_out
from tokens.views import document

FACTS = {
    "active": "active",
    "week": "expire within 7 days",
    "month": "expire within 30 days",
    "quarter": "expire within 90 days",
    "undated": "never expire",
    "never_used": "were never used",
    "unused": "were not used for a year",
    "owner_inactive": "have an owner who is not active",
    **{scope: f"have the scope {scope}" for scope in HURTFUL},
    "fine_grained": "are fine-grained",
    "expired": "expired",
    "revoked": "revoked",
}


def screen(breakdown: Breakdown, columns: int | None = None) -> Iterator[str]:
    """A line for each number that is not 0, then the policy in words, on a terminal of `columns` where it is one."""
    kinds = breakdown.kinds
    numbers = [(kind.kind, words, getattr(kind, name) or 0) for kind in kinds for name, words in FACTS.items()]
    width = max((len(f"{number:,}") for _, _, number in numbers), default=1)
    policy = list(facts(breakdown.demands))
    longest = max(len(subject) for subject in (*(kind for kind, _, _ in numbers), *(fact.subject for fact in policy)))
    for kind, words, number in numbers:
        if number:
            yield laid_out(f"{kind:<{longest}}  {number:>{width},}  {words}", columns, hanging=longest + width + 4)
    if not any(number for _, _, number in numbers):
        yield "There are no tokens."
    yield ""
    yield from (laid_out(f"{fact.subject:<{longest}}  {fact.text}", columns, hanging=longest + 2) for fact in policy)


def as_json(breakdown: Breakdown, instance: Instance, selection: Selection) -> str:
    """The same for a program; times in ISO 8601 (UTC), null for what the instance does not set."""
    demands = breakdown.demands
    policy, rules = demands.policy, demands.rules
    return document.text(
        instance,
        {
            "selection": selection.as_dict(),
            "notes": list(breakdown.notes),
            "kinds": [dataclasses.asdict(kind) for kind in breakdown.kinds],
            "policy": {
                "maximum_lifetime": policy.maximum_lifetime,
                "requires_expiry": policy.requires_expiry,
                "service_accounts_require_expiry": policy.service_accounts_require_expiry,
                "maintenance": policy.maintenance,
                "inactive_days": policy.inactive_days,
                "disabled": rules.disabled,
                "granular_after": rules.granular_after and str(rules.granular_after),
                "registration_tokens": demands.registration_tokens,
                "beyond_maximum": demands.beyond_maximum and sum(demands.beyond_maximum.values()),
            },
        },
    )
