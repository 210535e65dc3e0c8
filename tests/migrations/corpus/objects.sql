-- expand | - | -
CREATE SCHEMA shop;
-- irreversible | audit.log ACCESS EXCLUSIVE | SWM110
DROP SCHEMA audit CASCADE;
-- expand | - | -
CREATE TYPE colour AS ENUM ('red', 'green');
-- expand | - | SWM121
ALTER TYPE mood ADD VALUE 'bored';
-- expand | - | SWM121
ALTER TYPE mood ADD VALUE IF NOT EXISTS 'bored' AFTER 'sad';
-- contract | - | SWM105
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
-- contract | - | SWM105
ALTER TYPE mood RENAME TO moods;
-- contract | - | SWM105
DROP TYPE mood CASCADE;
-- contract | - | SWM105
DROP DOMAIN positive;
-- expand | users ACCESS SHARE | -
CREATE VIEW grown_ups AS SELECT id FROM users WHERE age >= 18;
-- expand | names ACCESS EXCLUSIVE, users ACCESS SHARE | SWM115
CREATE OR REPLACE VIEW names AS SELECT name, age FROM users;
-- contract | names ACCESS EXCLUSIVE | SWM110
DROP VIEW names;
-- contract | totals ACCESS EXCLUSIVE | SWM110
DROP MATERIALIZED VIEW totals;
-- data | totals ACCESS EXCLUSIVE | SWM210
REFRESH MATERIALIZED VIEW totals;
-- data | totals EXCLUSIVE | -
REFRESH MATERIALIZED VIEW CONCURRENTLY totals;
-- expand | users SHARE ROW EXCLUSIVE | SWM114
CREATE TRIGGER also AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION noop();
-- contract | users ACCESS EXCLUSIVE | SWM116
DROP TRIGGER touch ON users;
-- contract | users SHARE ROW EXCLUSIVE | SWM116
ALTER TABLE users DISABLE TRIGGER touch;
-- expand | users SHARE ROW EXCLUSIVE | SWM114
ALTER TABLE users ENABLE TRIGGER touch;
-- expand | users ACCESS EXCLUSIVE | SWM123
ALTER TRIGGER touch ON users RENAME TO touched;
-- expand | members ACCESS EXCLUSIVE | SWM114
CREATE RULE nope AS ON UPDATE TO members DO INSTEAD NOTHING;
-- contract | members ACCESS EXCLUSIVE | SWM116
DROP RULE keep ON members;
-- contract | users ACCESS EXCLUSIVE | SWM118
CREATE POLICY mine ON users USING (id = 1);
-- contract | teams ACCESS EXCLUSIVE | SWM118
DROP POLICY own_rows ON teams;
-- expand | - | -
CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql AS $$ SELECT n * 2; $$;
-- expand | - | SWM115
CREATE OR REPLACE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$;
-- contract | - | SWM110
DROP FUNCTION noop() CASCADE;
-- expand | - | -
CREATE SEQUENCE numbers START 100;
-- contract | tickets ACCESS EXCLUSIVE | SWM110
DROP SEQUENCE tickets;
-- expand | tickets SHARE ROW EXCLUSIVE | -
ALTER SEQUENCE tickets RESTART WITH 1000;
-- expand | - | -
GRANT SELECT ON users TO PUBLIC;
-- contract | - | SWM117
REVOKE ALL ON users FROM PUBLIC;
-- contract | - | SWM117
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM PUBLIC;
-- expand | - | SWM507
CREATE EXTENSION IF NOT EXISTS plpgsql;
