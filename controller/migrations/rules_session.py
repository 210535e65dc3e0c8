"""Judges what acts on the session or the server rather than on the schema."""

from collections.abc import Callable
from typing import Final

from controller.migrations.bundle import Kind
from controller.migrations.catalog import walk
from controller.migrations.classes import Notes
from controller.migrations.splitting import Node

_TIMEOUTS: Final = {
    "lock_timeout",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "deadlock_timeout",
}
_ROLES: Final = {"role", "session_authorization"}
_SERVER_FUNCTIONS: Final = {
    "pg_terminate_backend", "pg_cancel_backend", "pg_reload_conf", "pg_rotate_logfile",
    "pg_promote", "pg_switch_wal", "pg_create_restore_point", "pg_backup_start", "pg_backup_stop",
    "pg_drop_replication_slot", "pg_create_logical_replication_slot",
    "pg_create_physical_replication_slot", "dblink", "dblink_exec", "dblink_connect",
}  # fmt: skip
_FILE_FUNCTIONS: Final = {
    "pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file", "lo_import", "lo_export",
    "pg_file_write", "pg_file_unlink", "pg_file_rename",
}  # fmt: skip
# Functions of PostgreSQL itself that migrations call, and that change no more than they say.
_KNOWN_FUNCTIONS: Final = {
    "setval", "nextval", "currval", "pg_get_serial_sequence", "set_config", "current_setting",
    "now", "count", "max", "min", "sum", "avg", "coalesce", "greatest", "least", "lower", "upper",
    "concat", "format", "to_regclass", "pg_sleep", "pg_advisory_lock", "pg_advisory_xact_lock",
    "pg_advisory_unlock", "gen_random_uuid", "random", "generate_series", "row_number", "md5",
    "quote_ident", "quote_literal", "trim", "btrim", "ltrim", "rtrim", "substring", "position",
    "replace", "split_part", "length", "date_trunc", "timezone", "to_char", "to_timestamp",
    "to_date", "make_date", "extract", "date_part", "age", "abs", "round", "floor", "ceil",
    "array_agg", "string_agg", "jsonb_build_object", "json_build_object", "jsonb_set", "to_jsonb",
    "to_json", "unnest", "array_length", "cardinality", "rank", "dense_rank", "lag", "lead",
    "first_value", "last_value", "clock_timestamp", "encode", "decode", "convert_from",
    "convert_to", "regexp_replace", "regexp_match", "left", "right", "lpad", "rpad", "bool_and",
    "bool_or", "every", "exists", "mod", "power", "sqrt", "jsonb_agg", "json_agg", "digest",
    "overlaps", "nullif", "like", "ntile", "pg_column_size", "pg_typeof", "initcap", "reverse",
}  # fmt: skip


def set_variable(node: Node, notes: Notes) -> None:
    """Judge SET: some of it undoes what Slipway sets, or outlives the migration."""
    name = (node.name or "").lower()
    if node.kind.name == "VAR_SET_MULTI":
        return  # SET TRANSACTION
    if name in _TIMEOUTS:
        notes.remark("SWM502", f"{name} is set; Slipway's own no longer holds.")
    elif name == "search_path":
        _search_path(notes)
    elif name in _ROLES or node.kind.name == "VAR_RESET_ALL":
        notes.remark("SWM509", f"The session's {name or 'settings'} are changed.")
    elif not node.is_local:
        notes.remark("SWM502", f"{name} stays set for all later statements; SET LOCAL does not.")


def _search_path(notes: Notes) -> None:
    notes.remark("SWM501", "Names without a schema mean something else from here on.")


def transaction(node: Node, notes: Notes) -> None:
    """Judge BEGIN, COMMIT, ROLLBACK, SAVEPOINT and the like."""
    what = node.kind.name.removeprefix("TRANS_STMT_").replace("_", " ")
    notes.remark("SWM303", f"{what} takes the transaction out of Slipway's hands.")


def server(node: Node, notes: Notes) -> None:
    """Judge what is not an app's to change."""
    what = type(node).__name__.removesuffix("Stmt")
    notes.breaks("SWM504", f"{what} acts on the server, not on the app's schema.")


def server_once(node: Node, notes: Notes) -> None:
    """Judge the same, where PostgreSQL refuses it in a transaction."""
    notes.in_transaction = False
    server(node, notes)
    if type(node).__name__ == "DropdbStmt":
        notes.is_(Kind.IRREVERSIBLE)


def load(node: Node, notes: Notes) -> None:
    """Judge LOAD."""
    notes.remark("SWM503", f"LOAD of {node.filename} brings code into the server.")


def discard(node: Node, notes: Notes) -> None:
    """Judge DISCARD, which also drops what Slipway set for the session."""
    del node
    notes.in_transaction = False
    notes.remark("SWM509", "DISCARD resets the session.")


def call(node: Node, notes: Notes) -> None:
    """Judge CALL: what a procedure does is its own affair."""
    notes.is_(Kind.DATA)
    name = node.funccall.funcname[-1].sval
    notes.remark("SWM506", f"What the procedure {name} does cannot be seen here.")


def explain(node: Node, notes: Notes) -> None:
    """Judge EXPLAIN, PREPARE, cursors, LISTEN: they leave nothing behind."""
    notes.remark(
        "SWM508", f"{type(node).__name__.removesuffix('Stmt')} has no place in a migration."
    )


def functions(node: Node, notes: Notes) -> None:
    """Look at the functions that a SELECT or a change of rows calls."""
    for part in walk(node):
        if type(part).__name__ != "FuncCall":
            continue
        name = str(part.funcname[-1].sval)
        if name in _FILE_FUNCTIONS:
            notes.breaks("SWM503", f"{name}() reaches for files of the server.")
        elif name in _SERVER_FUNCTIONS:
            notes.breaks("SWM504", f"{name}() acts on the server or on other sessions.")
        elif name == "set_config":
            _set_config(part, notes)
        elif name in {"setval", "nextval"}:
            notes.is_(Kind.DATA)
        elif name not in _KNOWN_FUNCTIONS and not notes.catalog.is_new(name):
            notes.is_(Kind.DATA)
            notes.remark("SWM506", f"What the function {name} does cannot be seen here.")


def _set_config(part: Node, notes: Notes) -> None:
    name = getattr(getattr(part.args[0], "val", None), "sval", "")
    if name.lower() == "search_path":
        _search_path(notes)
    elif name.lower() in _TIMEOUTS:
        notes.remark("SWM502", f"{name} is set; Slipway's own no longer holds.")
    elif name.lower() in _ROLES or not name:
        notes.remark("SWM509", f"set_config({name or '...'}) acts for the whole session.")


_SERVER: Final = (
    "CreateRoleStmt", "AlterRoleStmt", "AlterRoleSetStmt", "DropRoleStmt", "GrantRoleStmt",
    "AlterDatabaseStmt", "AlterDatabaseSetStmt", "AlterDatabaseRefreshCollStmt",
    "ReassignOwnedStmt", "DropOwnedStmt", "CreateFdwStmt", "AlterFdwStmt",
    "CreateForeignServerStmt", "AlterForeignServerStmt", "CreateUserMappingStmt",
    "AlterUserMappingStmt", "DropUserMappingStmt", "CreatePLangStmt", "CreateSubscriptionStmt",
    "AlterSubscriptionStmt", "DropSubscriptionStmt", "CreatePublicationStmt",
    "AlterPublicationStmt", "CheckPointStmt", "CreateEventTrigStmt", "AlterEventTrigStmt",
    "AlterTableSpaceOptionsStmt", "AlterTableMoveAllStmt", "CreateAmStmt", "CreateConversionStmt",
)  # fmt: skip
_SERVER_ONCE: Final = (
    "AlterSystemStmt", "CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt", "DropTableSpaceStmt"
)  # fmt: skip
_NO_PLACE: Final = (
    "ExplainStmt", "PrepareStmt", "ExecuteStmt", "DeallocateStmt", "DeclareCursorStmt",
    "FetchStmt", "ClosePortalStmt", "ListenStmt", "UnlistenStmt", "VariableShowStmt",
)  # fmt: skip


def _nothing(node: Node, notes: Notes) -> None:
    del node, notes


JUDGES: Final[dict[str, Callable[[Node, Notes], None]]] = {
    "VariableSetStmt": set_variable,
    "TransactionStmt": transaction,
    "LoadStmt": load,
    "DiscardStmt": discard,
    "CallStmt": call,
    "ConstraintsSetStmt": _nothing,
    "NotifyStmt": _nothing,
    **dict.fromkeys(_SERVER, server),
    **dict.fromkeys(_SERVER_ONCE, server_once),
    **dict.fromkeys(_NO_PLACE, explain),
}
