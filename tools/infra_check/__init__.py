"""Checks of the Bicep templates that need no Azure: `python -m tools.infra_check`.

Bicep's own compiler is on no package registry, so this reads the language itself (`parser`), works
out what an environment's parameters make of the templates (`evaluate`), and holds the resources
against the models of Azure's SDKs (`schema`), against lists of what exists (`known`), against what
Slipway promises (`promises`), and against what its code reads and calls (`code`).
"""
