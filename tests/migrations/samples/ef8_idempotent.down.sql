START TRANSACTION;

DO $EF$
BEGIN
    IF EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20240701090000_RenameAndNarrow') THEN
    ALTER TABLE "Posts" ALTER COLUMN "AuthorId" DROP NOT NULL;
    END IF;
END $EF$;

DO $EF$
BEGIN
    IF EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20240701090000_RenameAndNarrow') THEN
    ALTER TABLE "Blogs" RENAME COLUMN "Address" TO "Url";
    END IF;
END $EF$;

DO $EF$
BEGIN
    IF EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20240701090000_RenameAndNarrow') THEN
    DELETE FROM "__EFMigrationsHistory"
    WHERE "MigrationId" = '20240701090000_RenameAndNarrow';
    END IF;
END $EF$;

COMMIT;

START TRANSACTION;

DO $EF$
BEGIN
    IF EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20240601090000_ConcurrentIndex') THEN
    DROP INDEX "IX_Posts_Title";
    END IF;
END $EF$;

DO $EF$
BEGIN
    IF EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20240601090000_ConcurrentIndex') THEN
    DELETE FROM "__EFMigrationsHistory"
    WHERE "MigrationId" = '20240601090000_ConcurrentIndex';
    END IF;
END $EF$;

COMMIT;

