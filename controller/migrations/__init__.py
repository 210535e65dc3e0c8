"""Database migrations as data: bundles, what their statements do, what is to run and what not."""
