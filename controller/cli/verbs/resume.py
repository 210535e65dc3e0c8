"""``slipway resume``."""

from controller.cli.verb import simple_order

VERB = simple_order(
    "resume",
    help_line="let a paused or held rollout watch on",
    description="Let the app's paused or held rollout go on watching from where it was.",
)
