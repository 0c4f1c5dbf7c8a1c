-- +goose Up
-- Each firing of a schedule is decided once: the key is its name and the date and
-- time of the wall clock. Instants are milliseconds since 1970, which both
-- databases read alike.
CREATE TABLE dapple_firings (
  schedule   TEXT NOT NULL,
  local      TEXT NOT NULL,
  at_ms      BIGINT NOT NULL,
  state      TEXT NOT NULL,
  why        TEXT NOT NULL DEFAULT '',
  run        TEXT NOT NULL DEFAULT '',
  scheduler  TEXT NOT NULL DEFAULT '',
  changed_ms BIGINT NOT NULL,
  PRIMARY KEY (schedule, local)
);
CREATE INDEX dapple_firings_state ON dapple_firings (state);
-- What was due before a schedule was first seen is not made up for.
CREATE TABLE dapple_schedules (
  name     TEXT PRIMARY KEY,
  first_ms BIGINT NOT NULL
);
-- Who runs, and when it was last heard of.
CREATE TABLE dapple_schedulers (
  id      TEXT PRIMARY KEY,
  seen_ms BIGINT NOT NULL
);
-- +goose Down
DROP TABLE dapple_firings;
DROP TABLE dapple_schedules;
DROP TABLE dapple_schedulers;
