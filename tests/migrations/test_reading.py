"""Bundles are read as they are, or refused with the file, the line and what to do."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.errors import MalformedError
from controller.migrations.bundle import Bundle, BundleFormat
from controller.migrations.reading import manifest_of, read_bundle
from tests.migrations.bundles import SAMPLES, bundle_of

SQL = {
    "002_teams.up.sql": b"CREATE TABLE teams (id int);\n",
    "001_users.up.sql": b"CREATE TABLE users (id int);\nCREATE TABLE x (id int)",
    "001_users.down.sql": b"DROP TABLE x; DROP TABLE users;",
    "010_index.up.sql": b"CREATE INDEX CONCURRENTLY i ON users (id);",
}


def with_manifest(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "manifest.json": manifest_of(files)}


def sample(*names: str) -> Bundle:
    return read_bundle({name: (SAMPLES / name).read_bytes() for name in names})


def refusal(files: dict[str, bytes]) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        read_bundle(files)
    return caught.value


def test_a_folder_becomes_a_bundle_in_the_order_of_its_numbers() -> None:
    bundle = read_bundle(with_manifest(SQL))

    assert bundle.format is BundleFormat.SQL
    assert [m.id for m in bundle.migrations] == ["001_users", "002_teams", "010_index"]
    assert [len(m.up) for m in bundle.migrations] == [2, 1, 1]
    assert [m.down is not None for m in bundle.migrations] == [True, False, False]
    assert [m.transactional for m in bundle.migrations] == [True, True, False]
    assert bundle.migrations[0].up[1].line == 2
    assert bundle.head == "010_index"


def test_a_manifest_written_by_hand_in_yaml_says_the_same() -> None:
    """Layout, comments and YAML or JSON do not change the bundle; its hash stays."""
    plain = json.loads(manifest_of(SQL))
    written = b"\xef\xbb\xbf# ours\r\n" + yaml.safe_dump(plain, sort_keys=True).encode()

    by_hand = read_bundle({**SQL, "manifest.yaml": written})

    assert by_hand == read_bundle(with_manifest(SQL))


def test_an_id_of_digits_and_a_hash_of_digits_are_texts() -> None:
    body = b"SELECT 1"
    manifest = f"format: sql\nmigrations:\n- id: 001\n  up: a.sql\n  up_sha256: {'1' * 64}\n"

    error = refusal({"a.sql": body, "manifest.yaml": manifest.encode()})

    assert f"not {'1' * 64}" in str(error)


@given(st.permutations(sorted(SQL)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_files_does_not_matter(names: list[str]) -> None:
    files = {name: SQL[name] for name in names}

    assert manifest_of(files) == manifest_of(SQL)
    assert read_bundle(with_manifest(files)) == read_bundle(with_manifest(SQL))


@given(st.sampled_from(sorted(SQL)), st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_seen(name: str, data: st.DataObject) -> None:
    """The old manifest refuses it, and a new manifest gives the bundle another hash."""
    index = data.draw(st.integers(0, len(SQL[name])))
    changed = {**SQL, name: SQL[name][:index] + b" " + SQL[name][index:]}

    assert name in str(refusal({**changed, "manifest.json": manifest_of(SQL)}))
    try:
        bundle = read_bundle(with_manifest(changed))
    except MalformedError:
        return  # the blank cut a word in two
    assert bundle.sha256 != read_bundle(with_manifest(SQL)).sha256


EF_IDS = [
    "20240110083000_InitialCreate",
    "20240305120000_AddAuthors",
    "20240501090000_RawSql",
    "20240601090000_ConcurrentIndex",
    "20240701090000_RenameAndNarrow",
]


@pytest.mark.parametrize("name", ["ef8_idempotent.sql", "ef8_plain.sql"])
def test_ef_core_scripts_are_read_by_migration(name: str) -> None:
    """Commands come out of their blocks as they were, with semicolons in texts and bodies."""
    bundle = sample(name)
    texts = [[s.text for s in m.up] for m in bundle.migrations]

    assert bundle.format is BundleFormat.EF_CORE
    assert [m.id for m in bundle.migrations] == EF_IDS
    assert [len(t) for t in texts] == [8, 7, 4, 2, 7]
    assert texts[0][0].startswith('CREATE TABLE IF NOT EXISTS "__EFMigrationsHistory"')
    assert "'https://example.org/a;b'" in texts[0][3]
    assert "'it''s \"quoted\"; and -- no comment'" in texts[0][4]
    assert texts[0][6].startswith("SELECT setval(")
    assert "a semicolon; in a body" in texts[2][0]
    assert texts[3][0] == 'CREATE INDEX CONCURRENTLY "IX_Posts_Title" ON "Posts" ("Title")'
    assert [m.transactional for m in bundle.migrations] == [True, True, True, False, True]
    assert all(t[-1].startswith('INSERT INTO "__EFMigrationsHistory"') for t in texts)


def test_ef_core_statements_know_their_lines() -> None:
    """A finding points into the script as EF Core wrote it."""
    lines = (SAMPLES / "ef8_idempotent.sql").read_text().splitlines()

    for migration in sample("ef8_idempotent.sql").migrations:
        for statement in migration.up:
            first = statement.text.splitlines()[0].strip()
            written = lines[statement.line - 1].strip().replace("PERFORM", "SELECT")
            assert written.startswith(first), statement


def test_ef_core_under_windows_is_the_same_migration() -> None:
    """A byte order mark and CRLF change no migration's hash: they are the generator's."""
    text = (SAMPLES / "ef8_idempotent.sql").read_bytes()
    windows = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")

    bundle = read_bundle({"script.sql": windows})

    assert [m.sha256 for m in bundle.migrations] == [
        m.sha256 for m in sample("ef8_idempotent.sql").migrations
    ]


def test_ef_core_way_back_comes_from_a_second_script() -> None:
    bundle = sample("ef8_idempotent.sql", "ef8_idempotent.down.sql")
    downs = {m.id: m.down for m in bundle.migrations}

    assert [id_ for id_, down in downs.items() if down] == EF_IDS[3:]
    last = downs[EF_IDS[4]]
    assert last is not None
    assert last[0].text == 'ALTER TABLE "Posts" ALTER COLUMN "AuthorId" DROP NOT NULL'
    assert last[-1].text.startswith('DELETE FROM "__EFMigrationsHistory"')


def test_ef_core_hash_of_a_migration_survives_a_shorter_script() -> None:
    """A script from a later migration on moves the history table's CREATE; nothing else."""
    text = (SAMPLES / "ef8_idempotent.sql").read_text()
    head, _, rest = text.partition("START TRANSACTION;")
    later = head + "START TRANSACTION;" + rest.split("COMMIT;", 1)[1]

    bundle = read_bundle({"script.sql": later.encode()})

    assert [(m.id, m.sha256) for m in bundle.migrations] == [
        (m.id, m.sha256) for m in sample("ef8_idempotent.sql").migrations[1:]
    ]


def test_ef_core_other_names_of_the_history_table() -> None:
    """A schema, a snake-case convention and a table of another name are understood."""
    text = (SAMPLES / "ef8_idempotent.sql").read_text()
    for old, new in [
        ('"__EFMigrationsHistory"', 'ops."__EFMigrationsHistory"'),
        ('"__EFMigrationsHistory"', "ops.history"),
        ('"MigrationId"', '"migration_id"'),
    ]:
        bundle = read_bundle({"script.sql": text.replace(old, new).encode()})

        assert [m.id for m in bundle.migrations] == EF_IDS
        assert [len(m.up) for m in bundle.migrations] == [8, 7, 4, 2, 7]


def test_alembic_output_is_read_by_revision() -> None:
    bundle = sample("alembic.sql", "alembic.down.sql")

    assert bundle.format is BundleFormat.ALEMBIC
    assert [m.id for m in bundle.migrations] == [
        "1a2b3c4d5e6f",
        "2b3c4d5e6f70",
        "3c4d5e6f7081",
        "4d5e6f708192",
    ]
    assert [len(m.up) for m in bundle.migrations] == [4, 2, 2, 2]
    assert [m.transactional for m in bundle.migrations] == [True, True, False, True]
    assert [len(m.down or ()) for m in bundle.migrations] == [0, 0, 2, 2]
    assert bundle.base is None


def test_alembic_output_that_begins_later_knows_its_base() -> None:
    text = (SAMPLES / "alembic.sql").read_text()
    later = "BEGIN;\n" + text[text.index("-- Running upgrade 2b3c") :]

    bundle = read_bundle({"x.sql": later.encode()})

    assert bundle.base == "2b3c4d5e6f70"
    assert [m.id for m in bundle.migrations] == ["3c4d5e6f7081", "4d5e6f708192"]


def one(text: bytes) -> dict[str, bytes]:
    return with_manifest({"001_a.up.sql": text})


def manifest(text: str) -> dict[str, bytes]:
    return {"manifest.yaml": text.encode(), "a.sql": b"SELECT 1"}


REFUSED = [
    # id, files, says
    ("nothing", {}, "empty"),
    ("no sql", {"a.txt": b"x"}, "neither a manifest"),
    ("unknown script", {"a.sql": b"SELECT 1"}, "neither EF Core's nor Alembic's"),
    ("two scripts", {"a.sql": b"SELECT 1", "b.sql": b"SELECT 1"}, "2 SQL files"),
    ("empty migration", one(b""), "001_a.up.sql holds no statement"),
    ("comments only", one(b"-- nothing\n/* here */ ;"), "001_a.up.sql holds no statement"),
    ("rubbish", one(b"\x00\x01\x02"), "not a text file"),
    ("not utf-8", one(b"SELECT 1;\nSELECT '\xff'"), "001_a.up.sql, line 2: byte 18 is not UTF-8"),
    ("utf-16", one("SELECT 1".encode("utf-16")), "UTF-16"),
    ("too large", one(b"-" * (10 << 20)), "10485760 bytes"),
    (
        "syntax",
        one(b"SELECT 1;\n\nCREATE TABEL x (id int);"),
        '001_a.up.sql, line 3, column 8: syntax error at or near "TABEL"',
    ),
    ("syntax after umlaut", one("SELECT 'ä';\nSELECT 'ö' frm y z;".encode()), "line 2, column 16"),
    ("open quote", one(b"SELECT 1;\nSELECT 'x"), "line 2, column 8: unterminated quoted string"),
    ("open dollar", one(b"DO $$ BEGIN"), "unterminated dollar-quoted string"),
    ("open comment", one(b"SELECT 1 /* x"), "unterminated /* comment"),
    ("psql", one(b"\\set ON_ERROR_STOP on\nSELECT 1;"), "\\set is a command of psql"),
    (
        "psql later",
        one(b"SELECT 1;\n\\i other.sql\n"),
        "line 2, column 1: \\i is a command of psql",
    ),
    ("copy rows", one(b"COPY t FROM stdin;\n1\ta\n\\.\n"), "rows follow COPY"),
    ("too deep", one(b"SELECT " + b"1+" * 20000 + b"1"), "words deep"),
    ("much too deep", one(b"SELECT " + b"(" * 200000), "memory exhausted"),
    ("odd name", {"a.sql": b"SELECT 1", "manifest.json": b"[]"}, "not a set of `field: value`"),
    ("two manifests", {"manifest.json": b"{}", "manifest.yaml": b""}, "both here"),
    ("unknown format", manifest("format: flyway"), "format is 'flyway'"),
    ("unknown engine", manifest("format: sql\nengine: mysql"), "engine is 'mysql'"),
    ("unknown field", manifest("format: sql\nauthor: me"), "no field 'author'"),
    ("no list", manifest("format: sql\nmigrations: 3"), "not a list"),
    ("no up", manifest("format: sql\nmigrations: [{id: a}]"), "`up` is missing"),
    ("no hash", manifest("format: sql\nmigrations: [{id: a, up: a.sql}]"), "up_sha256 is missing"),
    (
        "bad hash",
        manifest("format: sql\nmigrations: [{id: a, up: a.sql, up_sha256: x}]"),
        "not a SHA-256",
    ),
    ("bad id", manifest("format: sql\nmigrations: [{id: a b, up: a.sql}]"), "id is 'a b'"),
    ("said twice", manifest("format: sql\nformat: sql"), "'format' is said twice"),
    ("alias", manifest("a: &x 1\nb: *x"), "alias"),
    ("not yaml", manifest("format: sql\n  engine: [\n"), "manifest.yaml, line"),
    ("not json", {"manifest.json": b'{\n"a": }'}, "manifest.json, line 2"),
    ("deep json", {"manifest.json": b"[" * 100000}, "nests too deep"),
    ("missing file", {"manifest.json": manifest_of(SQL)}, "not in the bundle"),
    (
        "left over",
        {**with_manifest(SQL), "011_x.up.sql": b"SELECT 1"},
        "011_x.up.sql is in the bundle",
    ),
    (
        "ef without ids",
        {"a.sql": b'CREATE TABLE "__EFMigrationsHistory" (id int);'},
        "which migration",
    ),
    (
        "ef broken block",
        {"a.sql": b"DO $EF$ BEGIN IF x THEN UPDATE t SET a = 1 END IF; END $EF$;"},
        "line 1: a DO block that cannot be read",
    ),
    (
        "ef down as up",
        {"a.sql": (SAMPLES / "ef8_idempotent.down.sql").read_bytes()},
        "a step of a downgrade stands in the upgrade script",
    ),
    (
        "alembic twice",
        {"a.sql": b"-- Running upgrade  -> a\n\n-- Running upgrade  -> a\nSELECT 1;"},
        "comes twice",
    ),
    ("alembic down as up", {"a.sql": (SAMPLES / "alembic.down.sql").read_bytes()}, "the wrong way"),
    ("alembic psql", {"a.sql": b"-- Running upgrade  -> a\n\\d"}, "command of psql"),
]


@pytest.mark.parametrize(("files", "says"), [pytest.param(*c, id=name) for name, *c in REFUSED])
def test_what_cannot_be_understood_is_refused(files: dict[str, bytes], says: str) -> None:
    """The refusal names the place and gives the next step."""
    error = refusal(files)

    assert says in error.what
    assert error.fix.endswith((".", "`"))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["users.sql"], "not named like a migration"),
        (["001_a.up.sql", "1_b.up.sql"], "the same number"),
        (["001_a.down.sql"], "has no up script"),
        (["001_../x.up.sql"], "not named like a migration"),
    ],
)
def test_a_folder_whose_order_is_not_known_gets_no_manifest(names: list[str], says: str) -> None:
    with pytest.raises(MalformedError, match=says):
        manifest_of(dict.fromkeys(names, b"SELECT 1"))


@given(st.dictionaries(st.sampled_from(["a.sql", "manifest.yaml", "x.down.sql"]), st.binary()))
@settings(max_examples=150, deadline=None)
def test_rubbish_is_refused_and_nothing_else_happens(files: dict[str, bytes]) -> None:
    assert refusal(files).fix


def test_the_largest_file_is_read() -> None:
    """Four megabytes of rows: read whole, in the bound of memory that parsing takes."""
    row = b"INSERT INTO t (a, b) VALUES (1, 'some text; with a semicolon');\n"
    count = (4 << 20) // len(row)

    bundle = bundle_of("CREATE TABLE t (a int, b text)", (row * count).decode())

    assert len(bundle.migrations[1].up) == count
    assert bundle.migrations[1].up[-1].line == count


def test_samples_are_here() -> None:
    assert {p.name for p in Path(SAMPLES).iterdir()} >= {"ef8_idempotent.sql", "alembic.sql"}
