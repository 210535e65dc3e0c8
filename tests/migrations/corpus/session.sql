-- expand | - | SWM501
SET search_path TO audit;
-- expand | - | SWM501
SELECT set_config('search_path', '', false);
-- expand | - | SWM502
SET lock_timeout = '1h';
-- expand | - | SWM502
SET LOCAL statement_timeout = 0;
-- expand | - | SWM509
SET ROLE postgres;
-- expand | - | SWM303
BEGIN;
-- expand | - | SWM303
COMMIT;
-- expand | - | SWM303
SAVEPOINT here;
-- data | users ROW EXCLUSIVE | SWM503
COPY users FROM PROGRAM 'curl example.org';
-- data | users ROW EXCLUSIVE | SWM503
COPY users FROM '/etc/passwd';
-- expand | users ACCESS SHARE | SWM503
COPY users TO '/tmp/users';
-- data | users ROW EXCLUSIVE | SWM503
COPY users FROM STDIN;
-- contract | - | SWM504 | alone
ALTER SYSTEM SET work_mem = '1GB';
-- contract | - | SWM504 | alone
CREATE DATABASE other;
-- irreversible | - | SWM504 | alone
DROP DATABASE other;
-- contract | - | SWM504
CREATE ROLE admin SUPERUSER;
-- contract | - | SWM504
ALTER ROLE admin LOGIN;
-- contract | - | SWM504
DROP ROLE admin;
-- contract | - | SWM504
GRANT pg_read_all_data TO PUBLIC;
-- contract | - | SWM504
SELECT pg_terminate_backend(1);
-- contract | - | SWM503
SELECT pg_read_file('/etc/passwd');
-- expand | - | SWM503
LOAD 'auto_explain';
-- expand | - | SWM508
LISTEN something;
