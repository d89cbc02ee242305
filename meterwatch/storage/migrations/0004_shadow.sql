-- What a challenger says of readings that the champion has judged: written by the service, behind the stream. One
-- comparison at a time; whenever another pair is compared, all three tables begin anew.
CREATE TABLE shadow (
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    challenger      TEXT    NOT NULL,  -- versions
    champion        TEXT    NOT NULL,
    step            INTEGER NOT NULL,  -- grows with every write: who expected another number writes nothing
    begun_at        INTEGER NOT NULL,  -- by the clock of the service
    looked_at       INTEGER NOT NULL,
    readings        INTEGER NOT NULL,  -- that both have scored
    both            INTEGER NOT NULL,  -- of these, anomalous to both
    champion_only   INTEGER NOT NULL,
    challenger_only INTEGER NOT NULL,
    unscored        INTEGER NOT NULL,  -- readings that one or both could not score, or another version has judged
    begun_again     INTEGER NOT NULL,  -- how often a meter was taken up anew from the stream's state, readings left out
    meters          INTEGER NOT NULL,  -- that are followed
    behind_s        INTEGER NOT NULL   -- the most by which a followed meter is behind the stream, by its readings' times
);

-- The challenger's own state of each meter. It begins with the stream's, as it would after a promotion.
CREATE TABLE shadow_states (
    meter_id TEXT    NOT NULL PRIMARY KEY,
    since    INTEGER NOT NULL,         -- newest reading in the state that it began with
    at       INTEGER NOT NULL,         -- newest reading that it has judged
    state    BLOB    NOT NULL,
    profile  BLOB
);

CREATE TABLE shadow_events (
    event_id   TEXT    NOT NULL PRIMARY KEY,
    meter_id   TEXT    NOT NULL,
    start_at   INTEGER NOT NULL,
    end_at     INTEGER,                -- null while the event is open
    peak_at    INTEGER NOT NULL,
    severity   REAL    NOT NULL,
    kind       TEXT    NOT NULL,
    energy_kwh REAL    NOT NULL
) WITHOUT ROWID;

CREATE INDEX shadow_events_of_meter ON shadow_events (meter_id, start_at);
