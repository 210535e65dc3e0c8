"""``slipway promote``."""

from controller.cli.verb import simple_order

VERB = simple_order(
    "promote",
    help_line="skip what is left of the watching",
    description="Skip what is left of the watching: the new build takes 100 % at once.",
)
