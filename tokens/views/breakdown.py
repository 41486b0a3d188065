"""How a breakdown looks: one fact a line, and JSON."""

import dataclasses
from collections.abc import Iterator

from tokens.gitlab.settings import Policy
from tokens.inventory.breakdown import HURTFUL, Breakdown
from tokens.selection import Selection
from tokens.targets.instance import Instance
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


def screen(breakdown: Breakdown) -> Iterator[str]:
    """A line for each number that is not 0, then the policy in words."""
    kinds = breakdown.kinds
    numbers = [(kind.kind, words, getattr(kind, name)) for kind in kinds for name, words in FACTS.items()]
    width = max((len(f"{number:,}") for _, _, number in numbers), default=1)
    longest = max((len(kind) for kind, _, _ in numbers), default=0)
    for kind, words, number in numbers:
        if number:
            yield f"{kind:<{longest}}  {number:>{width},}  {words}"
    if not any(number for _, _, number in numbers):
        yield "There are no tokens."
    yield ""
    yield from (f"{subject:<{longest}}  {text}" for subject, text in policy_in_words(breakdown.policy))


def as_json(breakdown: Breakdown, instance: Instance, selection: Selection) -> str:
    """The same for a program; times in ISO 8601 (UTC), null for what the instance does not set."""
    policy = breakdown.policy
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
            },
        },
    )


def policy_in_words(policy: Policy) -> Iterator[tuple[str, str]]:
    """What the instance demands of tokens, a subject and a sentence each."""
    if policy.maximum_lifetime is None:
        yield "maximum", "no maximum lifetime is set"
    else:
        yield "maximum", f"{policy.maximum_lifetime} days; GitLab revokes longer ones when that setting is next saved"
    yield "new tokens", "must have a date" if policy.requires_expiry else "may have no date"
    yield "accounts", f"new tokens of service accounts {_must(policy.service_accounts_require_expiry)} have a date"
    if policy.inactive_days is None:
        yield "clean-up", "bots without an active token stay"
    else:
        yield "clean-up", f"bots without an active token are deleted after {policy.inactive_days} days"
    if policy.maintenance:
        yield "maintenance", "GitLab is in maintenance mode"


def _must(required: bool) -> str:
    return "must" if required else "need not"
