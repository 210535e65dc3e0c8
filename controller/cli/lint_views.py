"""What the lint found, for people, for programs and for GitHub."""

import re
from pathlib import Path
from typing import Final

from controller.cli.folder import Folder, shown_path
from controller.cli.printing import Printer
from controller.cli.values import Json
from controller.core.errors import MalformedError
from controller.migrations.lint import Finding, LintReport, StatementReport
from controller.migrations.locks import TableLock
from controller.migrations.rules import Severity

_COMMANDS: Final = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.ADVICE: "notice",
}
_PLACE: Final = re.compile(r"(?P<file>[^,:\s]+), line (?P<line>\d+)")


def report_text(folder: Folder, report: LintReport, printer: Printer) -> None:
    """Print each finding with its place, and how many there are."""
    for finding in report.findings:
        for line in finding_lines(folder, report, finding):
            printer.line(line)
    new = len({statement.migration for statement in report.statements})
    counts = [
        f"{count} {severity.value}{'s' if count != 1 and severity is not Severity.ADVICE else ''}"
        for severity in Severity
        if (count := sum(finding.severity is severity for finding in report.findings))
    ]
    found = ", ".join(counts) if counts else "nothing to complain of"
    printer.line(f"{new} migration{'s' if new != 1 else ''} read: {found}.")


def finding_lines(folder: Folder, report: LintReport, finding: Finding) -> list[str]:
    """Return what was found, and below it what the statement does and what to do instead."""
    place = f"{folder.file_of(finding.migration, is_down=finding.is_down)}:{finding.line}"
    lines = [f"{place}: {finding.severity.value} {finding.code}: {finding.says}"]
    statement = _statement(report, finding)
    if statement is not None:
        does = [f"kind {statement.kind.value}"]
        does += [f"takes {lock_text(lock)}" for lock in statement.locks]
        lines.append(f"    {'; '.join(does)}")
    return [*lines, f"    {finding.advice}"]


def report_json(folder: Folder, report: LintReport) -> Json:
    """Return the report for programs."""
    return {
        "passed": report.passed,
        "bundle": report.bundle,
        "format": folder.bundle.format.value,
        "findings": [finding_json(folder, finding) for finding in report.findings],
        "statements": [statement_json(folder, each) for each in report.statements],
    }


def finding_json(folder: Folder, finding: Finding) -> Json:
    """Return one finding for programs."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "migration": finding.migration,
        "file": folder.file_of(finding.migration, is_down=finding.is_down),
        "line": finding.line,
        "says": finding.says,
        "advice": finding.advice,
    }


def statement_json(folder: Folder, statement: StatementReport) -> Json:
    """Return one statement for programs."""
    return {
        "migration": statement.migration,
        "file": folder.file_of(statement.migration),
        "line": statement.line,
        "kind": statement.kind.value,
        "locks": [{"table": lock.relation, "mode": str(lock.mode)} for lock in statement.locks],
        "rewrites": list(statement.rewrites),
        "scans": list(statement.scans),
        "old_build_lives": statement.old_build_lives,
        "why_not": list(statement.why_not),
    }


def report_github(folder: Folder, report: LintReport, printer: Printer) -> None:
    """Print workflow commands: GitHub shows them at the lines of a pull request."""
    for finding in report.findings:
        file = folder.file_of(finding.migration, is_down=finding.is_down)
        command = _COMMANDS[finding.severity]
        said = f"{finding.says} {finding.advice}"
        printer.line(_annotation(command, file, finding.line, finding.code, said))


def malformed_github(folder: str, error: MalformedError, printer: Printer) -> None:
    """Print what cannot be read as a workflow command, at its place where one is named."""
    said = f"{error.what} {error.fix}"
    place = _PLACE.match(error.what)
    if place is None:
        printer.line(f"::error title={error.code}::{_escaped(said)}")
        return
    file = shown_path(Path(folder) / place["file"])
    printer.line(_annotation("error", file, int(place["line"]), error.code, said))


def lock_text(lock: TableLock) -> str:
    """Return a lock and who waits for it."""
    waits = "reads and writes" if lock.mode.stops_reads else "writes"
    stops = f", which stops {waits}" if lock.mode.stops_writes else ""
    return f"{lock.mode} on {lock.relation}{stops}"


def _annotation(command: str, file: str, line: int, title: str, said: str) -> str:
    place = f"file={_property(file)},line={line},title={_property(title)}"
    return f"::{command} {place}::{_escaped(said)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _statement(report: LintReport, finding: Finding) -> StatementReport | None:
    """Return the statement that a finding is about; None where it is the down script's."""
    if finding.is_down:
        return None
    same = [each for each in report.of(finding.migration) if each.line == finding.line]
    return next((each for each in same if finding.code in each.codes), same[0] if same else None)
