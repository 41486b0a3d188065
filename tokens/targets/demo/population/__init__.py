"""Fills a GitLab-shaped database with the tokens of the GitLab documentation and people, bots and projects behind them.

Set-based SQL, every value computed from a running number: two fills make the same rows. Only the tokens around today
(expired lately, expiring in the coming year, rotated) are placed relative to the day of the fill.
"""

from datetime import date
from typing import TYPE_CHECKING

from tokens.address import Address
from tokens.database import connect
from tokens.errors import Refused
from tokens.targets.demo.population import access_tokens, credentials, owners
from tokens.targets.demo.population.numbering import Identifiers
from tokens.targets.demo.population.tables import Tables, vacuum
from tokens.targets.demo.progress import Progress, ReportProgress

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["fill"]


def fill(address: Address, tokens: int, report: ReportProgress, expires_at: date) -> None:
    """Fill the empty GitLab-shaped database, with `tokens` tokens that expire on this day.

    One transaction, then VACUUM and ANALYZE, so that the first question is answered as fast as the second. Refused when
    the database has users already.
    """
    # Not at the top: the first line of progress need not wait for SQLAlchemy.
    from tokens.upgrade.engine import set_locally, transaction

    with transaction(address) as connection:
        # A database of our own that nobody else has entered yet.
        set_locally(connection, search_path="public, pg_temp", work_mem="256MB", maintenance_work_mem="512MB")
        _fill(connection, tokens, expires_at, report)
    report(Progress("Collecting statistics"))
    with connect(address) as filled:
        vacuum(filled)


def _fill(connection: "sa.Connection", tokens: int, expires_at: date, report: ReportProgress) -> None:
    tables = Tables(connection)
    if tables.execute("SELECT EXISTS (SELECT FROM users)").scalar_one():
        raise Refused("The database to be filled has users already; nothing was changed.")
    ids = Identifiers(tokens)
    report(Progress("Adding people, groups and projects"))
    owners.add_users(tables, ids)
    owners.add_namespaces(tables, ids)
    owners.add_user_details(tables, ids)
    access_tokens.add_clean_up(tables, expires_at)
    access_tokens.add_tokens(tables, ids, tokens, expires_at, report)
    report(Progress("Adding memberships and last uses"))
    owners.add_members(tables, ids)
    access_tokens.add_last_used_ips(tables)
    access_tokens.add_granular_scopes(tables, ids)
    credentials.add_all(tables, ids)
