-- No transaction can hold it, so no dry run sees that it divides by the rebates that are nought.
CREATE INDEX CONCURRENTLY orders_by_share ON orders ((cents / rebate));
