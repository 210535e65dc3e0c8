"""The command ``slipway``: checks a configuration here, and talks to a controller over HTTP."""
