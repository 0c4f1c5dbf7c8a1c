-- The index of the run directories. Nothing here is the truth: every row can be
-- made again from a run directory and the chain. The same statements are read by
-- SQLite and by PostgreSQL; times are milliseconds since 1970, in UTC.

-- +goose Up
CREATE TABLE runs (
    run         TEXT NOT NULL PRIMARY KEY,
    origin      TEXT NOT NULL, -- the chain that it is in, and so the machine
    link_n      BIGINT NOT NULL,
    link_hash   TEXT NOT NULL,
    link_prev   TEXT NOT NULL,
    how         TEXT NOT NULL,
    added       BIGINT NOT NULL,
    dir         TEXT NOT NULL,
    sha256      TEXT NOT NULL, -- of record.json
    prev_sha256 TEXT NOT NULL, -- as the record says it
    system      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    environment TEXT NOT NULL,
    scenario    TEXT NOT NULL,
    started     BIGINT NOT NULL,
    finished    BIGINT NOT NULL,
    verdict     TEXT NOT NULL,
    operator    TEXT NOT NULL,
    trials      BIGINT NOT NULL,
    digest      TEXT NOT NULL
);
CREATE UNIQUE INDEX runs_link ON runs (origin, link_n);
CREATE INDEX runs_by_system ON runs (system, started);
CREATE INDEX runs_by_time ON runs (started);

CREATE TABLE readings (
    run      TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    metric   TEXT NOT NULL,
    trial    BIGINT NOT NULL,
    lo_ms    DOUBLE PRECISION NOT NULL,
    hi_ms    DOUBLE PRECISION NOT NULL,
    censored BIGINT NOT NULL,
    PRIMARY KEY (run, metric, trial)
);

-- +goose Down
DROP TABLE readings;
DROP TABLE runs;
