"""``slipway approve``."""

from controller.cli.verb import simple_order

VERB = simple_order(
    "approve",
    help_line="let a rollout go on that waits for a person",
    description="Let the app's rollout go on: it waits for approval, or is held because evidence "
    "is missing.",
)
