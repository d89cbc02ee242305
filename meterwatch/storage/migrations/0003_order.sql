-- Readings that wait for others of their meter, within the model's allowed_lateness_s. A record is here or accounted for
-- elsewhere, never both: the rows of a partition are the ledger's `held`.
CREATE TABLE held_readings (
    meter_id      TEXT    NOT NULL,
    topic_id      TEXT    NOT NULL,
    topic         TEXT    NOT NULL,
    partition     INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    record_key    BLOB,
    raw           BLOB    NOT NULL,
    at            INTEGER NOT NULL,
    channels      BLOB    NOT NULL,  -- seven float64, little endian, in the order of power_data's columns; NaN: missing
    suspect       INTEGER NOT NULL,  -- 1: so far off that the meter's next record decides whether its time is real
    PRIMARY KEY (meter_id, topic_id, topic, partition, record_offset)
) WITHOUT ROWID;

-- A meter whose clock was wrong goes back: from then on a reading in order may be one that the table has.
ALTER TABLE hot_states ADD COLUMN furthest_at INTEGER;
UPDATE hot_states SET furthest_at = at;

-- Of `stored` and `rejected`, counted from this schema on.
ALTER TABLE offsets ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
ALTER TABLE offsets ADD COLUMN gaps INTEGER NOT NULL DEFAULT 0;
ALTER TABLE offsets ADD COLUMN conflicts INTEGER NOT NULL DEFAULT 0;
