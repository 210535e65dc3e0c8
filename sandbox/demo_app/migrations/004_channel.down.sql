DROP TABLE channels;
ALTER TABLE orders DROP COLUMN channel;
