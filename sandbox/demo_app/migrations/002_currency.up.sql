-- v1 does not see the column, and what v1 writes gets its default.
ALTER TABLE orders ADD COLUMN currency text NOT NULL DEFAULT 'EUR';
