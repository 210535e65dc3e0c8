"""``slipway reject``."""

from controller.cli.verb import simple_order

VERB = simple_order(
    "reject",
    help_line="turn down a rollout that waits for a person",
    description="Turn down the app's rollout that waits for approval or is held: it goes back to "
    "stable.",
)
