-- expand | users SHARE | SWM206 | scans users
CREATE INDEX users_status ON users (status);
-- expand | users SHARE | SWM206 | scans users
CREATE INDEX IF NOT EXISTS users_low ON users (lower(name)) WHERE age > 3;
-- expand | users SHARE UPDATE EXCLUSIVE | - | scans users, alone
CREATE INDEX CONCURRENTLY users_status ON users (status);
-- expand | users SHARE UPDATE EXCLUSIVE | - | scans users, alone
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_status ON users USING hash (status);
-- contract | users SHARE | SWM108, SWM206 | scans users
CREATE UNIQUE INDEX users_one_name ON users (name);
-- contract | users SHARE UPDATE EXCLUSIVE | SWM108 | scans users, alone
CREATE UNIQUE INDEX CONCURRENTLY users_one_name ON users (name);
-- expand | users ACCESS EXCLUSIVE | SWM207
DROP INDEX users_name;
-- expand | users SHARE UPDATE EXCLUSIVE | - | alone
DROP INDEX CONCURRENTLY users_name;
-- contract | users ACCESS EXCLUSIVE | SWM119, SWM207
DROP INDEX users_age;
-- expand | users_name SHARE UPDATE EXCLUSIVE | -
ALTER INDEX users_name RENAME TO users_by_name;
-- expand | users SHARE | SWM208 | scans users
REINDEX TABLE users;
-- expand | users SHARE | SWM208 | scans users
REINDEX INDEX users_name;
-- expand | users SHARE UPDATE EXCLUSIVE | - | scans users, alone
REINDEX TABLE CONCURRENTLY users;
-- expand | users SHARE UPDATE EXCLUSIVE | -
CREATE STATISTICS users_both ON name, status FROM users;
