-- What a meter's readings are judged again from: its state before the first batch of a week, kept as long as the readings
-- after it. The stream writes it with the batch. A snapshot without a state is a meter's beginning.
CREATE TABLE state_snapshots (
    meter_id TEXT    NOT NULL,
    at       INTEGER NOT NULL,  -- the newest reading in the state; of a new meter one second before its first
    state    BLOB,
    profile  BLOB,
    PRIMARY KEY (meter_id, at)
);

-- Nothing was ever pruned before this schema: each meter can be judged again from its beginning, and from now on.
INSERT OR IGNORE INTO state_snapshots
SELECT meter_id, (SELECT min(at) - 1 FROM power_data AS p WHERE p.meter_id = s.meter_id), NULL, NULL
FROM meter_states AS s WHERE at IS NOT NULL
UNION ALL
SELECT meter_id, at, state, profile FROM meter_states WHERE at IS NOT NULL;

-- Rejected records that were put on the topic once more, by their content; written by `meterwatch rejected replay`.
CREATE TABLE sent_again (
    record  BLOB    NOT NULL PRIMARY KEY,  -- a digest of key and raw bytes
    sent_at INTEGER NOT NULL
) WITHOUT ROWID;
