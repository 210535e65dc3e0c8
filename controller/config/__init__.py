"""apps.yaml: what users write, checked at the door, and turned into the core's `AppSpec`."""
