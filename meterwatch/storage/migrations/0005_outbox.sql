-- What an event has become, to be told to others (docs/integrate.md). The triggers write it in the transaction that changes
-- `events`, as long as somebody is to be told; it is deleted once all of them have acknowledged it.
CREATE TABLE outbox_readers (
    name    TEXT    NOT NULL PRIMARY KEY,
    told    INTEGER NOT NULL,                 -- all changes up to this sequence are acknowledged
    telling INTEGER,                          -- the last one of those that are on their way; null while none are
    fault   TEXT                              -- why the newest try was in vain; null after one that was not
);

CREATE TABLE outbox (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    change        TEXT    NOT NULL,           -- opened, updated, closed
    event_id      TEXT    NOT NULL,           -- from here on as in `events`, after the change
    meter_id      TEXT    NOT NULL,
    start_at      INTEGER NOT NULL,
    end_at        INTEGER,
    peak_at       INTEGER NOT NULL,
    severity      REAL    NOT NULL,
    kind          TEXT    NOT NULL,
    energy_kwh    REAL,
    model_version TEXT    NOT NULL
);

-- Milliseconds: a database made anew goes on above the numbers of the one before it.
INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', 1000 * strftime('%s', 'now'));

CREATE TRIGGER event_begun AFTER INSERT ON events WHEN EXISTS (SELECT 1 FROM outbox_readers)
BEGIN
    INSERT INTO outbox (change, event_id, meter_id, start_at, end_at, peak_at, severity, kind, energy_kwh, model_version)
    VALUES (iif(NEW.end_at IS NULL, 'opened', 'closed'), NEW.event_id, NEW.meter_id, NEW.start_at, NEW.end_at,
            NEW.peak_at, NEW.severity, NEW.kind, NEW.energy_kwh, NEW.model_version);
END;

CREATE TRIGGER event_changed AFTER UPDATE ON events
WHEN EXISTS (SELECT 1 FROM outbox_readers) AND (
    (OLD.start_at, OLD.peak_at, OLD.severity, OLD.kind, OLD.model_version)
        <> (NEW.start_at, NEW.peak_at, NEW.severity, NEW.kind, NEW.model_version)
    OR OLD.end_at IS NOT NEW.end_at OR OLD.energy_kwh IS NOT NEW.energy_kwh)
BEGIN
    INSERT INTO outbox (change, event_id, meter_id, start_at, end_at, peak_at, severity, kind, energy_kwh, model_version)
    VALUES (iif(NEW.end_at IS NULL, 'updated', 'closed'), NEW.event_id, NEW.meter_id, NEW.start_at, NEW.end_at,
            NEW.peak_at, NEW.severity, NEW.kind, NEW.energy_kwh, NEW.model_version);
END;
