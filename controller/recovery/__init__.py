"""Backup sets as data: manifests, how long they are kept, what a drill has to find."""
