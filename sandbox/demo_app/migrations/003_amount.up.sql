-- v2 reads and writes `cents`: it could not go on beside v3, and nobody could go back to it.
ALTER TABLE orders RENAME COLUMN cents TO amount;
