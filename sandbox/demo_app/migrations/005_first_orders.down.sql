DROP TABLE first_orders;
