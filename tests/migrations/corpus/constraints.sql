-- contract | users ACCESS EXCLUSIVE | SWM108, SWM204 | scans users
ALTER TABLE users ADD CONSTRAINT grown CHECK (age >= 18);
-- contract | users ACCESS EXCLUSIVE | SWM108
ALTER TABLE users ADD CONSTRAINT grown CHECK (age >= 18) NOT VALID;
-- expand | users SHARE UPDATE EXCLUSIVE | - | scans users
ALTER TABLE users VALIDATE CONSTRAINT price_positive;
-- expand | members SHARE UPDATE EXCLUSIVE, users ROW SHARE | - | scans members
ALTER TABLE members VALIDATE CONSTRAINT members_user;
-- contract | teams SHARE ROW EXCLUSIVE, users SHARE ROW EXCLUSIVE | SWM108, SWM203 | scans teams, scans users
ALTER TABLE teams ADD CONSTRAINT owner FOREIGN KEY (owner_id) REFERENCES users (id);
-- contract | teams SHARE ROW EXCLUSIVE, users SHARE ROW EXCLUSIVE | SWM108
ALTER TABLE teams ADD CONSTRAINT owner FOREIGN KEY (owner_id) REFERENCES users (id) NOT VALID;
-- contract | users ACCESS EXCLUSIVE | SWM108, SWM205 | scans users
ALTER TABLE users ADD CONSTRAINT one_name UNIQUE (name);
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ADD CONSTRAINT one_age UNIQUE USING INDEX users_age;
-- contract | members ACCESS EXCLUSIVE | SWM108, SWM205 | scans members
ALTER TABLE members ADD PRIMARY KEY (team_id, user_id);
-- contract | teams ACCESS EXCLUSIVE | SWM108, SWM205 | scans teams
ALTER TABLE teams ADD CONSTRAINT apart EXCLUDE USING btree (owner_id WITH =);
-- expand | users ACCESS EXCLUSIVE | SWM122
ALTER TABLE users DROP CONSTRAINT price_positive;
-- contract | users ACCESS EXCLUSIVE | SWM119
ALTER TABLE users DROP CONSTRAINT users_email_key;
-- expand | members ACCESS EXCLUSIVE, teams ACCESS EXCLUSIVE | SWM122
ALTER TABLE members DROP CONSTRAINT members_team;
-- expand | users ACCESS EXCLUSIVE | SWM123
ALTER TABLE users RENAME CONSTRAINT price_positive TO price_above_zero;
-- contract | - | SWM108
ALTER DOMAIN positive ADD CONSTRAINT small CHECK (VALUE < 100);
-- contract | - | SWM107
ALTER DOMAIN positive SET NOT NULL;
