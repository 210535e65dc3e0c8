"""The demo app that runs in the slots, and the images it is packed into."""
