"""Speed, size and calls: ``make bench``. Ratios and counts, since these machines are noisy."""
