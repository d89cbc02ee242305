-- Times (at, …_at) are unix seconds in UTC. The stream writes everything here but labels, which the service writes.
-- Tables keyed WITHOUT ROWID hold their rows in key order, so a meter's history is one range of pages.

CREATE TABLE schema_version (
    version    INTEGER NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
);

CREATE TABLE power_data (
    meter_id              TEXT    NOT NULL,
    at                    INTEGER NOT NULL,
    global_active_power   REAL,              -- kW
    global_reactive_power REAL,              -- kVAr
    voltage               REAL,              -- V
    global_intensity      REAL,              -- A
    sub_metering_1        REAL,              -- Wh
    sub_metering_2        REAL,              -- Wh
    sub_metering_3        REAL,              -- Wh
    partition             INTEGER NOT NULL,  -- where the record stands on the topic
    record_offset         INTEGER NOT NULL,
    PRIMARY KEY (meter_id, at)
) WITHOUT ROWID;

CREATE TABLE verdicts (
    meter_id      TEXT    NOT NULL,
    at            INTEGER NOT NULL,
    status        TEXT    NOT NULL CHECK (status IN ('scored', 'warming_up', 'gap', 'late')),
    score         REAL,                      -- log10 of the return period in months; null unless scored, as what follows
    threshold     REAL,
    anomalous     INTEGER,                   -- 1 exactly when score >= threshold
    expected_kw   REAL,
    lower_kw      REAL,
    upper_kw      REAL,
    reason        TEXT,                      -- null where there is nothing to say
    model_version TEXT    NOT NULL,
    PRIMARY KEY (meter_id, at)
) WITHOUT ROWID;

CREATE INDEX verdicts_anomalous ON verdicts (meter_id, at) WHERE anomalous = 1;

CREATE TABLE events (
    event_id      TEXT    NOT NULL PRIMARY KEY,
    meter_id      TEXT    NOT NULL,
    start_at      INTEGER NOT NULL,
    end_at        INTEGER,                   -- its last anomalous reading; null while the event is open
    peak_at       INTEGER NOT NULL,
    severity      REAL    NOT NULL,          -- 0 to 100
    kind          TEXT    NOT NULL,
    energy_kwh    REAL,                      -- above (positive) or below (negative) the expected
    model_version TEXT    NOT NULL
) WITHOUT ROWID;

CREATE INDEX events_of_meter ON events (meter_id, start_at);
CREATE INDEX events_in_time ON events (start_at);

CREATE TABLE rejected (
    topic_id      TEXT    NOT NULL,
    topic         TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    record_key    BLOB,                      -- the record as it came, so that it can be sent again
    raw           BLOB,
    reason        TEXT    NOT NULL,
    PRIMARY KEY (topic_id, topic, partition, record_offset)
) WITHOUT ROWID;

CREATE INDEX rejected_reasons ON rejected (reason);

-- A meter's state in two parts: the hot one is written with every batch of the meter, the profile only when it changed.
-- Two tables, because a changed column makes SQLite write the whole row again.
CREATE TABLE hot_states (
    meter_id      TEXT NOT NULL PRIMARY KEY,
    state         BLOB NOT NULL,
    at            INTEGER,                   -- the newest reading judged in order; null before the first
    model_version TEXT NOT NULL
);

CREATE TABLE profiles (
    meter_id TEXT NOT NULL PRIMARY KEY,
    profile  BLOB NOT NULL
);

CREATE VIEW meter_states AS
SELECT s.meter_id, s.state, p.profile, s.at, s.model_version
FROM hot_states AS s LEFT JOIN profiles AS p ON p.meter_id = s.meter_id;

-- The truth about what was read: every record below next_offset has been accounted for exactly once,
-- records = stored + duplicates + rejected + held.
CREATE TABLE offsets (
    topic_id    TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    records     INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    duplicates  INTEGER NOT NULL,
    rejected    INTEGER NOT NULL,
    held        INTEGER NOT NULL,
    pruned      INTEGER NOT NULL,
    PRIMARY KEY (topic_id, topic, partition)
) WITHOUT ROWID;

CREATE TABLE labels (
    event_id    TEXT    NOT NULL PRIMARY KEY,
    meter_id    TEXT    NOT NULL,
    start_at    INTEGER NOT NULL,
    end_at      INTEGER,
    label       TEXT    NOT NULL CHECK (label IN ('real', 'false_alarm')),
    note        TEXT    NOT NULL DEFAULT '',
    labelled_by TEXT    NOT NULL,
    labelled_at INTEGER NOT NULL
);

-- Hours and days (UTC) of each meter. Sums are integers (mW, mV, mWh), hence equal however the stream was cut.
CREATE TABLE rollups (
    meter_id           TEXT    NOT NULL,
    period             TEXT    NOT NULL CHECK (period IN ('hour', 'day')),
    at                 INTEGER NOT NULL,     -- start of the hour or day
    readings           INTEGER NOT NULL,
    scored             INTEGER NOT NULL,
    warming_up         INTEGER NOT NULL,
    gap                INTEGER NOT NULL,
    late               INTEGER NOT NULL,
    anomalous          INTEGER NOT NULL,
    power_readings     INTEGER NOT NULL,     -- readings that have a power
    power_mw_sum       INTEGER NOT NULL,
    power_mw_min       INTEGER,
    power_mw_max       INTEGER,
    voltage_readings   INTEGER NOT NULL,
    voltage_mv_sum     INTEGER NOT NULL,
    voltage_mv_min     INTEGER,
    voltage_mv_max     INTEGER,
    sub_metering_1_mwh INTEGER NOT NULL,
    sub_metering_2_mwh INTEGER NOT NULL,
    sub_metering_3_mwh INTEGER NOT NULL,
    PRIMARY KEY (meter_id, period, at)
) WITHOUT ROWID;
