"""Connection strings, in all the forms that apps' settings hold them.

libpq (``host=db user=app``), URLs (``postgresql://app@db/shop``), ADO.NET as Npgsql and EF Core
read it (``Host=db;Username=app``) and JDBC. The password is taken out and wrapped, and no error
quotes what it complains of: half of a connection string is often the password.
"""

import hmac
import re
from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from controller.core.errors import ConfigurationError
from controller.ports_data import DatabaseAddress

_PORT: Final = 5432
_MASK: Final = "***"
_FORMS: Final = (
    "Write it as postgresql://user:password@host:5432/database?sslmode=require, as libpq's"
    " key=value words, as Npgsql's Host=...;Username=...;Password=...;Database=..., or as a JDBC"
    " URL."
)
_JDBC: Final = "jdbc:postgresql:"


class Secret:
    """A password or token that is never shown: printing, formatting and comparing are safe."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return what it is. Only what sends it should call this."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled: it would be written down.")


def parse(text: str) -> tuple[DatabaseAddress, Secret | None]:
    """Return where a connection string leads, and the password in it, if there is one.

    What belongs to a driver alone (pooling, command time-outs) is left out. Without a word about
    TLS, TLS is required, whatever the driver would do.

    Raises:
        ConfigurationError: it is in no form that we know, or lacks host, user or database.
    """
    stripped = text.strip()
    if stripped.startswith(_JDBC):
        words = _jdbc(stripped)
    elif re.match(r"postgres(ql)?://", stripped):
        words = _libpq(stripped)
    else:
        words = _key_value(stripped)
    return _address(words)


def mask(text: str, *secrets: Secret | None) -> str:
    """Return *text* with every secret in it masked."""
    for secret in secrets:
        if secret is not None and secret.reveal():
            text = text.replace(secret.reveal(), _MASK)
    return text


# --- What is common to all -------------------------------------------------------------------

_OURS: Final = frozenset({"host", "port", "dbname", "user", "password", "sslmode"})
_PASSED: Final = frozenset(
    {
        "channel_binding", "connect_timeout", "gssencmode", "hostaddr", "keepalives",
        "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "options",
        "require_auth", "ssl_min_protocol_version", "sslcert", "sslcrl", "sslkey", "sslnegotiation",
        "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout",
    }
)  # fmt: skip
_OF_FILES: Final = ("passfile", "service", "servicefile", "sslpassword")
_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


def _address(words: Mapping[str, str]) -> tuple[DatabaseAddress, Secret | None]:
    for name in _OF_FILES:
        if words.get(name):
            raise ConfigurationError(
                f"The connection string names {name}, which leads away from it.",
                fix="Write host, user and database into it, and the password into Key Vault.",
            )
    for name, meant in (("host", "host"), ("user", "user"), ("dbname", "database")):
        if not words.get(name):
            raise ConfigurationError(f"The connection string names no {meant}.", fix=_FORMS)
    host = words["host"]
    if "," in host or "," in words.get("port", ""):
        raise ConfigurationError(
            "The connection string names several hosts.",
            fix="Name the one that takes writes: migrations and backups need one database.",
        )
    address = DatabaseAddress(
        host=host,
        port=_port(words.get("port")),
        database=words["dbname"],
        user=words["user"],
        sslmode=_ssl_mode(words.get("sslmode")),
        options={name: words[name] for name in sorted(words) if name in _PASSED and words[name]},
    )
    password = words.get("password")
    return address, Secret(password) if password else None


def _port(text: str | None) -> int:
    if not text:
        return _PORT
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise ConfigurationError("The port in the connection string is no port.", fix=_FORMS)
    return int(text)


def _ssl_mode(text: str | None) -> str:
    if not text:
        return "require"
    mode = text.lower()
    mode = {"verifyca": "verify-ca", "verifyfull": "verify-full"}.get(mode, mode)
    if mode not in _SSL_MODES:
        raise ConfigurationError(
            "The connection string names an SSL mode that does not exist.",
            fix=f"Use one of {', '.join(sorted(_SSL_MODES))}.",
        )
    return mode


def _unreadable(form: str) -> ConfigurationError:
    return ConfigurationError(f"The connection string cannot be read as {form}.", fix=_FORMS)


# --- libpq ---------------------------------------------------------------------------------------


def _libpq(text: str) -> dict[str, str]:
    """Let libpq itself read it: URL or words."""
    try:
        found = conninfo_to_dict(text)
    except psycopg.Error:
        raise _unreadable("libpq reads it") from None  # its message quotes the text
    return {name: str(value) for name, value in found.items() if value is not None}


def _key_value(text: str) -> dict[str, str]:
    """Read words that are parted by spaces (libpq) or by semicolons (ADO.NET).

    A password may hold either, so that libpq can read a string is not enough: nothing but a
    password holds a semicolon in it, and a host is named.
    """
    try:
        words = _libpq(text)
    except ConfigurationError:
        words = {}
    others = [value for name, value in words.items() if name != "password"]
    if words.get("host") and not any(";" in value for value in others):
        return words
    if "=" not in text:
        raise ConfigurationError("This is no connection string.", fix=_FORMS)
    return _npgsql(text)


# --- ADO.NET, as Npgsql names its words ----------------------------------------------------------

_NPGSQL: Final = {
    "host": "host", "server": "host", "port": "port", "database": "dbname", "db": "dbname",
    "username": "user", "userid": "user", "uid": "user", "user": "user",
    "password": "password", "pwd": "password", "psw": "password",
    "sslmode": "sslmode", "rootcertificate": "sslrootcert", "sslcertificate": "sslcert",
    "sslkey": "sslkey", "timeout": "connect_timeout", "options": "options",
    "searchpath": "search_path", "passfile": "passfile", "sslpassword": "sslpassword",
    "channelbinding": "channel_binding", "targetsessionattributes": "target_session_attrs",
}  # fmt: skip
_PAIR: Final = re.compile(
    r"""
    \s* (?P<key> (?: [^=;] | == )+? ) \s* = (?!=) \s*
    (?: "(?P<double> (?: [^"] | "" )* )" | '(?P<single> (?: [^'] | '' )* )'
      | (?P<bare> [^;"'] [^;]* | ) )
    \s* (?: ; | $ )
    """,
    re.VERBOSE,
)


def _npgsql(text: str) -> dict[str, str]:
    words: dict[str, str] = {}
    for key, value in _pairs(text):
        name = _NPGSQL.get(re.sub(r"[\s_]", "", key).lower())
        if name:
            words[name] = value  # the last one counts
    host, colon, port = words.get("host", "").partition(":")
    if colon and port.isdecimal() and "port" not in words:
        words |= {"host": host, "port": port}
    if "channel_binding" in words:
        words["channel_binding"] = words["channel_binding"].lower()
    return _with_search_path(words)


def _with_search_path(words: dict[str, str]) -> dict[str, str]:
    if path := words.pop("search_path", None):
        escaped = re.sub(r"([\\ ])", r"\\\1", path)
        words["options"] = f"{words.get('options', '')} -c search_path={escaped}".strip()
    return words


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the pairs, by the rules of .NET's DbConnectionStringBuilder."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        if blank := re.compile(r"[\s;]+").match(text, position):
            position = blank.end()
            continue
        pair = _PAIR.match(text, position)
        if pair is None:
            raise _unreadable("ADO.NET reads it")
        found.append((pair["key"].replace("==", "=").strip(), _value(pair)))
        position = pair.end()
    return found


def _value(pair: re.Match[str]) -> str:
    if pair["double"] is not None:
        return pair["double"].replace('""', '"')
    if pair["single"] is not None:
        return pair["single"].replace("''", "'")
    return pair["bare"].strip()


# --- JDBC ----------------------------------------------------------------------------------------

_FROM_JDBC: Final = {
    "user": "user", "password": "password", "sslmode": "sslmode", "sslrootcert": "sslrootcert",
    "sslcert": "sslcert", "sslkey": "sslkey", "sslpassword": "sslpassword", "options": "options",
    "currentSchema": "search_path", "connectTimeout": "connect_timeout",
    "PGHOST": "host", "PGPORT": "port", "PGDBNAME": "dbname",
}  # fmt: skip


def _jdbc(text: str) -> dict[str, str]:
    try:
        url = urlsplit(text.removeprefix("jdbc:"))
        query = parse_qsl(url.query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise _unreadable("a JDBC URL") from None
    host, _, port = url.netloc.rpartition(":") if _has_port(url.netloc) else (url.netloc, "", "")
    words = {
        "host": host.strip("[]") or "localhost",
        "port": port,
        "dbname": unquote(url.path.removeprefix("/")),
    }
    if "@" in url.netloc:
        raise ConfigurationError(
            "A JDBC URL holds no user before the host.",
            fix="Write ?user=...&password=... behind the database.",
        )
    said = dict(query)
    words |= {_FROM_JDBC[name]: value for name, value in said.items() if name in _FROM_JDBC}
    if said.get("ssl", "false").lower() not in {"", "true", "false"}:
        raise _unreadable("a JDBC URL")
    if said.get("ssl", "false").lower() in {"", "true"} and not words.get("sslmode"):
        words["sslmode"] = "verify-full"  # what the driver does
    return _with_search_path(words)


def _has_port(netloc: str) -> bool:
    return re.search(r":\d*$", netloc) is not None and not netloc.endswith("]")
