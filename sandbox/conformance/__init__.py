"""Microsoft's own test suite of azure-servicebus, against the sandbox's broker.

`python -m sandbox.conformance` (or `make conformance`) fetches the source distribution of the
installed client, runs its asynchronous live tests unchanged, and compares the outcome with
`exceptions`. What the tests ask of Azure is stood in for by `stand_ins` and `preparers`.
"""
