"""Addresses as a person would write them."""

from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict

from tokens.address import Address


def url(address: Address) -> str:
    """The same database as a target in words."""
    parts = conninfo_to_dict(address.conninfo)
    return (
        f"postgresql://{parts['user']}@/{parts['dbname']}?{urlencode({'host': parts['host'], 'port': parts['port']})}"
    )
