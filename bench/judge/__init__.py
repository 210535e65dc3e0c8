"""The judge against the rules in use, over simulated rollouts: ``python -m bench.judge``."""
