ALTER TABLE orders ADD COLUMN channel text NOT NULL DEFAULT 'shop';
CREATE TABLE channels (name text PRIMARY KEY, opened_on date NOT NULL);
INSERT INTO channels VALUES ('shop', '2020-01-01'), ('web', '2024-01-01');
