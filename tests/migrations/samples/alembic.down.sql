BEGIN;

-- Running downgrade 4d5e6f708192 -> 3c4d5e6f7081

ALTER TABLE account ADD COLUMN description VARCHAR(200);

UPDATE alembic_version SET version_num='3c4d5e6f7081' WHERE alembic_version.version_num = '4d5e6f708192';

-- Running downgrade 3c4d5e6f7081 -> 2b3c4d5e6f70

DROP INDEX ix_account_name;

UPDATE alembic_version SET version_num='2b3c4d5e6f70' WHERE alembic_version.version_num = '3c4d5e6f7081';

COMMIT;

