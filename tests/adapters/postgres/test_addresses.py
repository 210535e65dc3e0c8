"""Connection strings in every form that apps hold them in, and no password out of any."""

import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters.postgres.addresses import Secret, mask, parse
from controller.core.errors import ConfigurationError
from controller.ports_data import DatabaseAddress

SHOP = DatabaseAddress(host="db.example.org", port=5432, database="shop", user="app")


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("postgresql://app:pw@db.example.org/shop", "pw"),
        ("postgres://app:p%40%3A%2F%25w@db.example.org:5432/shop?sslmode=require", "p@:/%w"),
        ("postgresql://app@db.example.org/shop?password=pw", "pw"),
        ("postgresql://db.example.org/shop?user=app", None),
        ("host=db.example.org user=app dbname=shop password=pw", "pw"),
        (r"host = db.example.org user=app dbname=shop password='it\'s; a \\ b'", r"it's; a \ b"),
        ("host=db.example.org user=app password=a;b dbname=shop", "a;b"),
        ("Host=db.example.org;Username=app;Password=pw;Database=shop", "pw"),
        ("Server=db.example.org;User Id=app;Pwd=a=b;Database=shop;SslMode=Require;", "a=b"),
        ("host=db.example.org;username=app;password=a b;database=shop", "a b"),
        ("password=a b;host=db.example.org;username=app;database=shop", "a b"),
        ("password=x;host=db.example.org;username=app;database=shop", "x"),
        ("""HOST="db.example.org";UserName=app;Password="a;b""c";DB=shop""", 'a;b"c'),
        ("Host=db.example.org;User ID=app;Password=' it''s ';Database=shop", " it's "),
        ("Host=db.example.org:5432;Username=app;Database=shop;Password=", None),
        ("Host=other;Username=app;Database=shop;Password=1;Host=db.example.org;Password=2", "2"),
        ("jdbc:postgresql://db.example.org/shop?user=app&password=p%26w", "p&w"),
        ("jdbc:postgresql://db.example.org:5432/shop?user=app&sslmode=require", None),
    ],
)  # fmt: skip
def test_every_form_leads_to_the_same_place(text: str, password: str | None) -> None:
    address, secret = parse(f"  {text}\n")
    assert address == SHOP
    assert (secret.reveal() if secret else None) == password


def test_what_the_platform_writes_into_app_settings_is_understood() -> None:
    text = (
        "Server=shop.postgres.database.azure.com;Database=orders;Port=6432;User Id=app@tenant;"
        "Password={x};Ssl Mode=VerifyFull;Trust Server Certificate=true;Maximum Pool Size=20;"
        "Root Certificate=/etc/ca.pem;Search Path=app, public;Timeout=9;Command Timeout=60"
    )
    address, secret = parse(text)
    assert address == DatabaseAddress(
        host="shop.postgres.database.azure.com",
        port=6432,
        database="orders",
        user="app@tenant",
        sslmode="verify-full",
        options={
            "connect_timeout": "9",
            "options": r"-c search_path=app,\ public",
            "sslrootcert": "/etc/ca.pem",
        },
    )
    assert secret == Secret("{x}")


@pytest.mark.parametrize(
    ("text", "sslmode"),
    [
        ("postgresql://a@h/d", "require"),
        ("postgresql://a@h/d?sslmode=verify-full", "verify-full"),
        ("Host=h;Username=a;Database=d", "require"),
        ("Host=h;Username=a;Database=d;SSL Mode=Disable", "disable"),
        ("Host=h;Username=a;Database=d;SslMode=VerifyCA", "verify-ca"),
        ("jdbc:postgresql://h/d?user=a", "require"),
        ("jdbc:postgresql://h/d?user=a&ssl=true", "verify-full"),
        ("jdbc:postgresql://h/d?user=a&ssl=true&sslmode=prefer", "prefer"),
    ],
)
def test_tls_is_required_unless_said_otherwise(text: str, sslmode: str) -> None:
    assert parse(text)[0].sslmode == sslmode


@pytest.mark.parametrize("host", ["[::1]", "[2001:db8::7]"])
@pytest.mark.parametrize("scheme", ["postgresql", "jdbc:postgresql"])
def test_addresses_of_version_6_are_understood(host: str, scheme: str) -> None:
    address, _ = parse(f"{scheme}://{host}:6000/d?user=a")
    assert (address.host, address.port) == (host.strip("[]"), 6000)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no connection string"),
        ("hunter2", "no connection string"),
        ("postgresql://app:hunter2@one,two/shop", "several hosts"),
        ("host=one,two user=a dbname=d password=hunter2", "several hosts"),
        ("Host=one,two;Username=a;Database=d;Password=hunter2", "several hosts"),
        ("postgresql://:hunter2@h/d", "no user"),
        ("postgresql://a:hunter2@h", "no database"),
        ("Username=a;Database=d;Password=hunter2", "no host"),
        ("postgresql://a:hunter2@h:99999/d", "port"),
        ("postgresql://a:hunter2%zz@h/d", "cannot be read"),
        ("Host=h;Username=a;Database=d;Password='hunter2", "cannot be read"),
        ("Host=h;hunter2;Username=a;Database=d", "cannot be read"),
        ("jdbc:postgresql://a:hunter2@h/d", "holds no user"),
        ("jdbc:postgresql://[h/d?user=a&password=hunter2", "JDBC"),
        ("Host=h;Username=a;Database=d;SSL Mode=hunter2", "SSL mode"),
        ("host=h user=a dbname=d passfile=/hunter2", "passfile"),
        ("host=h user=a dbname=d service=hunter2", "service"),
    ],
)
def test_what_is_wrong_is_said_without_quoting_it(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        parse(text)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


_TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1)


@given(_TEXT)
def test_any_password_comes_out_of_ado_net_as_it_went_in(password: str) -> None:
    quoted = password.replace('"', '""')
    address, secret = parse(f'Host=db.example.org;Password="{quoted}";Username=app;Database=shop')
    assert address == SHOP
    assert secret == Secret(password)


@given(_TEXT)
def test_any_password_comes_out_of_libpq_as_it_went_in(password: str) -> None:
    quoted = password.replace("\\", r"\\").replace("'", r"\'")
    address, secret = parse(f"host=db.example.org password='{quoted}' user=app dbname=shop")
    assert address == SHOP
    assert secret == Secret(password)


@given(_TEXT)
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    for prefix in ("", "postgresql://", "jdbc:postgresql://", "Host=h;"):
        try:
            parse(prefix + text)
        except ConfigurationError:
            continue


def test_a_secret_is_never_shown() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", repr([secret])]
    assert not any("hunter2" in text for text in shown)
    assert secret.reveal() == "hunter2"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    assert secret != "hunter2"
    assert mask("a hunter2 b", secret, None, Secret("")) == "a *** b"
