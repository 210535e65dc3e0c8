-- What v1 runs on.
CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL
);
INSERT INTO customers SELECT number, 'customer ' || number FROM generate_series(1, 50) AS number;
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token uuid NOT NULL UNIQUE,
    customer integer NOT NULL REFERENCES customers,
    cents integer NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
