"""``slipway pause``."""

from controller.cli.verb import simple_order

VERB = simple_order(
    "pause",
    help_line="keep a rollout where it is",
    description="Keep the app's rollout where it is until somebody says resume, or its hold "
    "expires.",
)
