-- The second statement cannot work: customers order more than once.
CREATE TABLE first_orders (customer integer PRIMARY KEY, cents integer NOT NULL);
INSERT INTO first_orders SELECT customer, cents FROM orders;
