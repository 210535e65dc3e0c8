"""Is this KQL valid? Asked of Microsoft's own parser and binder, under Node.js."""

from sandbox.kql_check.checker import CheckResult, Diagnostic, KqlChecker, KqlCheckError

__all__ = ["CheckResult", "Diagnostic", "KqlCheckError", "KqlChecker"]
