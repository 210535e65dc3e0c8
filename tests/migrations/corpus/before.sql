-- The schema that the old build uses when each statement of the corpus comes.
CREATE TYPE mood AS ENUM ('happy', 'sad');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE SCHEMA audit;
CREATE SEQUENCE tickets;
CREATE TABLE users (
    id bigint PRIMARY KEY,
    name varchar(50) NOT NULL,
    email varchar(200),
    age integer,
    price numeric(10, 2),
    seen timestamp(3),
    feeling mood,
    status text DEFAULT 'new',
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT age_present CHECK (age IS NOT NULL),
    CONSTRAINT price_positive CHECK (price > 0)
);
CREATE TABLE teams (id bigint PRIMARY KEY, title text, owner_id bigint);
CREATE TABLE members (
    team_id bigint,
    user_id bigint,
    CONSTRAINT members_team FOREIGN KEY (team_id) REFERENCES teams (id)
);
CREATE TABLE audit.log (id bigint, what text, at timestamptz);
CREATE TABLE events (id bigint, day date) PARTITION BY RANGE (day);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 (id bigint, day date);
CREATE INDEX users_name ON users (name);
CREATE UNIQUE INDEX users_age ON users (age);
CREATE VIEW names AS SELECT name FROM users;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM users;
CREATE UNIQUE INDEX totals_n ON totals (n);
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION noop();
CREATE POLICY own_rows ON teams USING (true);
CREATE RULE keep AS ON DELETE TO members DO INSTEAD NOTHING;
ALTER TABLE members ADD CONSTRAINT members_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;
ALTER TABLE teams ADD CONSTRAINT title_present CHECK (title IS NOT NULL) NOT VALID;
