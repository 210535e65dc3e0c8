-- data | users ROW EXCLUSIVE | -
INSERT INTO users (id, name) VALUES (1, 'it''s; ok'), (2, 'b');
-- data | users ROW EXCLUSIVE, audit.log ACCESS SHARE | -
INSERT INTO users (id, name) SELECT id, what FROM audit.log;
-- data | users ROW EXCLUSIVE | SWM401 | scans users
UPDATE users SET status = 'old';
-- data | users ROW EXCLUSIVE | SWM401 | scans users
UPDATE users SET status = 'old' WHERE true;
-- data | users ROW EXCLUSIVE | SWM401 | scans users
UPDATE users SET status = 'old' WHERE 1 = 1;
-- data | users ROW EXCLUSIVE | -
UPDATE users SET status = 'old' WHERE id BETWEEN 1 AND 1000;
-- data | users ROW EXCLUSIVE | SWM401 | scans users
DELETE FROM users;
-- data | users ROW EXCLUSIVE | -
DELETE FROM users WHERE age < 0;
-- data | users ROW EXCLUSIVE, teams ACCESS SHARE | -
DELETE FROM users USING teams WHERE teams.owner_id = users.id;
-- data | users ROW EXCLUSIVE, audit.log ROW EXCLUSIVE | -
WITH gone AS (DELETE FROM users WHERE age < 0 RETURNING id) INSERT INTO audit.log (id) SELECT id FROM gone;
-- data | users ROW EXCLUSIVE, teams ACCESS SHARE | -
MERGE INTO users USING teams ON users.id = teams.owner_id WHEN MATCHED THEN UPDATE SET status = 'owner';
-- data | - | -
SELECT setval('tickets', 1000);
-- expand | users ACCESS SHARE | -
SELECT count(*) FROM users;
-- expand | users ROW SHARE | -
SELECT id FROM users WHERE id = 1 FOR UPDATE;
-- data | users ROW EXCLUSIVE | -
INSERT INTO users (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
