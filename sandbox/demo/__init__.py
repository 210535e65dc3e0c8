"""The main job, live in the terminal: see `sandbox.demo.__main__`."""
