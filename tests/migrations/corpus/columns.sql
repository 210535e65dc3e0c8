-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ADD COLUMN nick text;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ADD COLUMN IF NOT EXISTS nick text;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ADD COLUMN points integer NOT NULL DEFAULT 0;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ADD COLUMN joined timestamptz NOT NULL DEFAULT now();
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ADD COLUMN joined timestamptz DEFAULT CURRENT_TIMESTAMP;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ADD COLUMN tags text[] NOT NULL DEFAULT '{}';
-- expand | users ACCESS EXCLUSIVE | SWM202 | rewrites users
ALTER TABLE users ADD COLUMN token uuid DEFAULT gen_random_uuid();
-- expand | users ACCESS EXCLUSIVE | SWM202 | rewrites users
ALTER TABLE users ADD COLUMN dice double precision NOT NULL DEFAULT random();
-- expand | users ACCESS EXCLUSIVE | SWM202 | rewrites users
ALTER TABLE users ADD COLUMN made timestamptz DEFAULT clock_timestamp();
-- expand | users ACCESS EXCLUSIVE | SWM202 | rewrites users
ALTER TABLE users ADD COLUMN number bigserial;
-- expand | users ACCESS EXCLUSIVE | SWM202 | rewrites users
ALTER TABLE users ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
-- expand | users ACCESS EXCLUSIVE | SWM202 | rewrites users
ALTER TABLE users ADD COLUMN upper_name text GENERATED ALWAYS AS (upper(name)) STORED;
-- contract | users ACCESS EXCLUSIVE | SWM113 | scans users
ALTER TABLE users ADD COLUMN country text NOT NULL;
-- contract | users ACCESS EXCLUSIVE | SWM113 | scans users
ALTER TABLE users ADD COLUMN country text NOT NULL DEFAULT NULL;
-- expand | users ACCESS EXCLUSIVE | SWM205 | scans users
ALTER TABLE users ADD COLUMN code text UNIQUE;
-- expand | users ACCESS EXCLUSIVE, teams SHARE ROW EXCLUSIVE | -
ALTER TABLE users ADD COLUMN team_id bigint REFERENCES teams (id);
-- expand | users ACCESS EXCLUSIVE | SWM204 | scans users
ALTER TABLE users ADD COLUMN height integer CHECK (height > 0);
-- expand | audit.log ACCESS EXCLUSIVE | -
ALTER TABLE audit.log ADD COLUMN who text;
-- irreversible | users ACCESS EXCLUSIVE | SWM102
ALTER TABLE users DROP COLUMN price;
-- irreversible | users ACCESS EXCLUSIVE | SWM102
ALTER TABLE users DROP COLUMN IF EXISTS status CASCADE;
-- irreversible | users ACCESS EXCLUSIVE | SWM102
ALTER TABLE "users" ADD COLUMN nick text, DROP COLUMN "status";
-- contract | users ACCESS EXCLUSIVE | SWM104
ALTER TABLE users RENAME COLUMN status TO state;
-- contract | users ACCESS EXCLUSIVE | SWM104
ALTER TABLE users RENAME status TO state;
-- expand | teams ACCESS EXCLUSIVE | -
ALTER TABLE teams ALTER COLUMN title TYPE varchar;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN email TYPE text;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN email TYPE varchar(400);
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN email TYPE varchar;
-- contract | users ACCESS EXCLUSIVE | SWM106, SWM202 | rewrites users
ALTER TABLE users ALTER COLUMN email TYPE varchar(20);
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN price TYPE numeric(14, 2);
-- contract | users ACCESS EXCLUSIVE | SWM106, SWM202 | rewrites users
ALTER TABLE users ALTER COLUMN price TYPE numeric(14, 4);
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN price TYPE numeric;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN seen TYPE timestamp(6);
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN seen TYPE timestamp;
-- contract | users ACCESS EXCLUSIVE | SWM106, SWM202 | rewrites users
ALTER TABLE users ALTER COLUMN seen TYPE timestamptz;
-- contract | users ACCESS EXCLUSIVE | SWM106, SWM202 | rewrites users
ALTER TABLE users ALTER COLUMN age TYPE bigint;
-- contract | users ACCESS EXCLUSIVE | SWM106, SWM202 | rewrites users
ALTER TABLE users ALTER COLUMN age TYPE text USING age::text;
-- contract | users ACCESS EXCLUSIVE | SWM201, SWM107 | scans users
ALTER TABLE users ALTER COLUMN email SET NOT NULL;
-- contract | users ACCESS EXCLUSIVE | SWM107
ALTER TABLE users ALTER COLUMN age SET NOT NULL;
-- contract | teams ACCESS EXCLUSIVE | SWM201, SWM107 | scans teams
ALTER TABLE teams ALTER COLUMN title SET NOT NULL;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN name SET NOT NULL;
-- expand | users ACCESS EXCLUSIVE | SWM112
ALTER TABLE users ALTER COLUMN name DROP NOT NULL;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN status SET DEFAULT 'fresh';
-- contract | users ACCESS EXCLUSIVE | SWM111
ALTER TABLE users ALTER COLUMN status DROP DEFAULT;
-- expand | users SHARE UPDATE EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN status SET STATISTICS 500;
-- expand | users ACCESS EXCLUSIVE | -
ALTER TABLE users ALTER COLUMN status SET STORAGE EXTERNAL;
