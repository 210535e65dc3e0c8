-- expand | users ACCESS EXCLUSIVE | -
DO $$ BEGIN IF true THEN ALTER TABLE users ADD COLUMN nick text; END IF; END $$;
-- irreversible | users ACCESS EXCLUSIVE | SWM102
DO $$ BEGIN ALTER TABLE users DROP COLUMN status; END $$;
-- irreversible | events_2025 ACCESS EXCLUSIVE | SWM101
DO $$ BEGIN EXECUTE 'DROP TABLE events_2025'; END $$;
-- data | - | SWM505 | dies
DO $$ BEGIN EXECUTE format('DROP TABLE %I', 'users'); END $$;
-- data | users ROW EXCLUSIVE | SWM401 | scans users
DO $$ DECLARE r record; BEGIN FOR r IN UPDATE users SET status = 'x' RETURNING id LOOP NULL; END LOOP; END $$;
-- data | users ROW EXCLUSIVE | -
DO $$ DECLARE n integer := 1; BEGIN WHILE n > 0 LOOP UPDATE users SET status = 'x' WHERE id IN (SELECT id FROM users WHERE status IS NULL LIMIT 100); GET DIAGNOSTICS n = ROW_COUNT; END LOOP; END $$;
-- expand | - | SWM303
DO $$ BEGIN COMMIT; END $$;
-- expand | users SHARE UPDATE EXCLUSIVE | SWM301 | scans users
DO $$ BEGIN CREATE INDEX CONCURRENTLY users_status ON users (status); END $$;
-- expand | - | SWM506
CREATE FUNCTION sweep() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP TABLE ' || 'users'; END $$;
-- data | - | SWM506
SELECT sweep_everything();
-- data | - | SWM506
CALL sweep_all();
-- contract | - | SWM504
CREATE FUNCTION crash() RETURNS void LANGUAGE c AS '/tmp/evil', 'crash';
-- data | - | SWM505 | dies
DO LANGUAGE plpython3u $$ plpy.execute('DROP TABLE users') $$;
