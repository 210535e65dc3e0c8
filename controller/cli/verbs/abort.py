"""``slipway abort``."""

from controller.cli.verb import simple_order

VERB = simple_order(
    "abort",
    help_line="take a running rollout back to stable, now",
    description="Take the app's running rollout back to the stable build, now. Its image is "
    "quarantined until somebody says retry.",
    reason_required=True,
)
