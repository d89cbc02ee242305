BEGIN TRANSACTION;
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
INSERT INTO "events" VALUES('a-6000','a',6000,NULL,6000,50.0,'surge',1.0,'1');
INSERT INTO "events" VALUES('b-6120','b',6120,NULL,6120,50.0,'surge',1.0,'1');
CREATE TABLE hot_states (
    meter_id      TEXT NOT NULL PRIMARY KEY,
    state         BLOB NOT NULL,
    at            INTEGER,                   -- the newest reading judged in order; null before the first
    model_version TEXT NOT NULL
);
INSERT INTO "hot_states" VALUES('b',X'6C1B0000000000002700000000000000E817000000000000E817000000000000',7020,'1');
INSERT INTO "hot_states" VALUES('a',X'E41B0000000000004E000000000000007017000000000000AC17000000000000',7140,'1');
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
INSERT INTO "labels" VALUES('a-6000','a',6000,NULL,'real','oven','admin',1764000000);
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
INSERT INTO "offsets" VALUES('id','first',0,120,120,117,1,2,0,0);
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
INSERT INTO "power_data" VALUES('a',60,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,1);
INSERT INTO "power_data" VALUES('a',120,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,2);
INSERT INTO "power_data" VALUES('a',240,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,4);
INSERT INTO "power_data" VALUES('a',300,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,5);
INSERT INTO "power_data" VALUES('a',420,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,7);
INSERT INTO "power_data" VALUES('a',480,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,8);
INSERT INTO "power_data" VALUES('a',600,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,10);
INSERT INTO "power_data" VALUES('a',660,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,11);
INSERT INTO "power_data" VALUES('a',780,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,13);
INSERT INTO "power_data" VALUES('a',840,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,14);
INSERT INTO "power_data" VALUES('a',960,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,16);
INSERT INTO "power_data" VALUES('a',1020,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,17);
INSERT INTO "power_data" VALUES('a',1140,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,19);
INSERT INTO "power_data" VALUES('a',1200,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,20);
INSERT INTO "power_data" VALUES('a',1320,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,22);
INSERT INTO "power_data" VALUES('a',1380,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,23);
INSERT INTO "power_data" VALUES('a',1500,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,25);
INSERT INTO "power_data" VALUES('a',1560,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,26);
INSERT INTO "power_data" VALUES('a',1680,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,28);
INSERT INTO "power_data" VALUES('a',1740,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,29);
INSERT INTO "power_data" VALUES('a',1860,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,31);
INSERT INTO "power_data" VALUES('a',1920,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,32);
INSERT INTO "power_data" VALUES('a',2040,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,34);
INSERT INTO "power_data" VALUES('a',2100,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,35);
INSERT INTO "power_data" VALUES('a',2220,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,37);
INSERT INTO "power_data" VALUES('a',2280,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,38);
INSERT INTO "power_data" VALUES('a',2400,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,40);
INSERT INTO "power_data" VALUES('a',2460,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,41);
INSERT INTO "power_data" VALUES('a',2580,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,43);
INSERT INTO "power_data" VALUES('a',2640,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,44);
INSERT INTO "power_data" VALUES('a',2760,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,46);
INSERT INTO "power_data" VALUES('a',2820,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,47);
INSERT INTO "power_data" VALUES('a',2940,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,49);
INSERT INTO "power_data" VALUES('a',3120,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,52);
INSERT INTO "power_data" VALUES('a',3180,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,53);
INSERT INTO "power_data" VALUES('a',3300,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,55);
INSERT INTO "power_data" VALUES('a',3360,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,56);
INSERT INTO "power_data" VALUES('a',3480,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,58);
INSERT INTO "power_data" VALUES('a',3540,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,59);
INSERT INTO "power_data" VALUES('a',3660,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,61);
INSERT INTO "power_data" VALUES('a',3720,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,62);
INSERT INTO "power_data" VALUES('a',3840,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,64);
INSERT INTO "power_data" VALUES('a',3900,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,65);
INSERT INTO "power_data" VALUES('a',4020,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,67);
INSERT INTO "power_data" VALUES('a',4080,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,68);
INSERT INTO "power_data" VALUES('a',4260,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,71);
INSERT INTO "power_data" VALUES('a',4380,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,73);
INSERT INTO "power_data" VALUES('a',4440,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,74);
INSERT INTO "power_data" VALUES('a',4560,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,76);
INSERT INTO "power_data" VALUES('a',4620,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,77);
INSERT INTO "power_data" VALUES('a',4740,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,79);
INSERT INTO "power_data" VALUES('a',4800,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,80);
INSERT INTO "power_data" VALUES('a',4920,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,82);
INSERT INTO "power_data" VALUES('a',4980,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,83);
INSERT INTO "power_data" VALUES('a',5100,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,85);
INSERT INTO "power_data" VALUES('a',5160,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,86);
INSERT INTO "power_data" VALUES('a',5280,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,88);
INSERT INTO "power_data" VALUES('a',5340,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,89);
INSERT INTO "power_data" VALUES('a',5460,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,91);
INSERT INTO "power_data" VALUES('a',5520,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,92);
INSERT INTO "power_data" VALUES('a',5640,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,94);
INSERT INTO "power_data" VALUES('a',5700,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,95);
INSERT INTO "power_data" VALUES('a',5820,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,97);
INSERT INTO "power_data" VALUES('a',5880,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,98);
INSERT INTO "power_data" VALUES('a',6000,30.0,NULL,NULL,NULL,NULL,NULL,NULL,0,100);
INSERT INTO "power_data" VALUES('a',6060,30.0,NULL,NULL,NULL,NULL,NULL,NULL,0,101);
INSERT INTO "power_data" VALUES('a',6180,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,103);
INSERT INTO "power_data" VALUES('a',6240,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,104);
INSERT INTO "power_data" VALUES('a',6360,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,106);
INSERT INTO "power_data" VALUES('a',6420,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,107);
INSERT INTO "power_data" VALUES('a',6540,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,109);
INSERT INTO "power_data" VALUES('a',6600,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,110);
INSERT INTO "power_data" VALUES('a',6720,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,112);
INSERT INTO "power_data" VALUES('a',6780,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,113);
INSERT INTO "power_data" VALUES('a',6900,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,115);
INSERT INTO "power_data" VALUES('a',6960,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,116);
INSERT INTO "power_data" VALUES('a',7080,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,118);
INSERT INTO "power_data" VALUES('a',7140,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,119);
INSERT INTO "power_data" VALUES('b',0,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,0);
INSERT INTO "power_data" VALUES('b',180,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,3);
INSERT INTO "power_data" VALUES('b',360,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,6);
INSERT INTO "power_data" VALUES('b',540,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,9);
INSERT INTO "power_data" VALUES('b',720,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,12);
INSERT INTO "power_data" VALUES('b',900,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,15);
INSERT INTO "power_data" VALUES('b',1080,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,18);
INSERT INTO "power_data" VALUES('b',1260,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,21);
INSERT INTO "power_data" VALUES('b',1440,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,24);
INSERT INTO "power_data" VALUES('b',1620,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,27);
INSERT INTO "power_data" VALUES('b',1800,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,30);
INSERT INTO "power_data" VALUES('b',1980,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,33);
INSERT INTO "power_data" VALUES('b',2160,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,36);
INSERT INTO "power_data" VALUES('b',2340,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,39);
INSERT INTO "power_data" VALUES('b',2520,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,42);
INSERT INTO "power_data" VALUES('b',2700,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,45);
INSERT INTO "power_data" VALUES('b',2880,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,48);
INSERT INTO "power_data" VALUES('b',3060,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,51);
INSERT INTO "power_data" VALUES('b',3240,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,54);
INSERT INTO "power_data" VALUES('b',3420,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,57);
INSERT INTO "power_data" VALUES('b',3780,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,63);
INSERT INTO "power_data" VALUES('b',3960,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,66);
INSERT INTO "power_data" VALUES('b',4140,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,69);
INSERT INTO "power_data" VALUES('b',4320,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,72);
INSERT INTO "power_data" VALUES('b',4500,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,75);
INSERT INTO "power_data" VALUES('b',4680,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,78);
INSERT INTO "power_data" VALUES('b',4860,1.4,NULL,NULL,NULL,NULL,NULL,NULL,0,81);
INSERT INTO "power_data" VALUES('b',5040,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,84);
INSERT INTO "power_data" VALUES('b',5220,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,87);
INSERT INTO "power_data" VALUES('b',5400,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,90);
INSERT INTO "power_data" VALUES('b',5580,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,93);
INSERT INTO "power_data" VALUES('b',5760,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,96);
INSERT INTO "power_data" VALUES('b',5940,1.1,NULL,NULL,NULL,NULL,NULL,NULL,0,99);
INSERT INTO "power_data" VALUES('b',6120,30.0,NULL,NULL,NULL,NULL,NULL,NULL,0,102);
INSERT INTO "power_data" VALUES('b',6300,1.0,NULL,NULL,NULL,NULL,NULL,NULL,0,105);
INSERT INTO "power_data" VALUES('b',6480,1.3,NULL,NULL,NULL,NULL,NULL,NULL,0,108);
INSERT INTO "power_data" VALUES('b',6660,1.6,NULL,NULL,NULL,NULL,NULL,NULL,0,111);
INSERT INTO "power_data" VALUES('b',6840,1.2,NULL,NULL,NULL,NULL,NULL,NULL,0,114);
INSERT INTO "power_data" VALUES('b',7020,1.5,NULL,NULL,NULL,NULL,NULL,NULL,0,117);
CREATE TABLE profiles (
    meter_id TEXT NOT NULL PRIMARY KEY,
    profile  BLOB NOT NULL
);
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
INSERT INTO "rejected" VALUES('id','first',0,50,X'61',X'4E6F6E653B4E6F6E65','bad_fields');
INSERT INTO "rejected" VALUES('id','first',0,60,X'61',X'313230303B372E35','conflict');
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
INSERT INTO "rollups" VALUES('a','day',0,78,58,20,0,0,2,78,159000000,1000000,30000000,0,0,NULL,NULL,0,0,0);
INSERT INTO "rollups" VALUES('a','hour',0,39,19,20,0,0,0,39,50400000,1000000,1600000,0,0,NULL,NULL,0,0,0);
INSERT INTO "rollups" VALUES('a','hour',3600,39,39,0,0,0,2,39,108600000,1000000,30000000,0,0,NULL,NULL,0,0,0);
INSERT INTO "rollups" VALUES('b','day',0,39,19,20,0,0,1,39,79300000,1000000,30000000,0,0,NULL,NULL,0,0,0);
INSERT INTO "rollups" VALUES('b','hour',0,20,0,20,0,0,0,20,25900000,1000000,1600000,0,0,NULL,NULL,0,0,0);
INSERT INTO "rollups" VALUES('b','hour',3600,19,19,0,0,0,1,19,53400000,1000000,30000000,0,0,NULL,NULL,0,0,0);
CREATE TABLE schema_version (
    version    INTEGER NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
);
INSERT INTO "schema_version" VALUES(1,'tables',1795620668);
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
INSERT INTO "verdicts" VALUES('a',60,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',120,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',240,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',300,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',420,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',480,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',600,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',660,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',780,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',840,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',960,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1020,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1140,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1200,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1320,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1380,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1500,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1560,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1680,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1740,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1860,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',1920,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2040,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2100,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2220,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2280,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2400,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2460,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2580,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2640,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2760,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2820,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',2940,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3120,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3180,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3300,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3360,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3480,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3540,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3660,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3720,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3840,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('a',3900,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4020,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4080,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4260,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4380,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4440,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4560,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4620,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4740,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4800,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4920,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',4980,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5100,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5160,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5280,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5340,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5460,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5520,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5640,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5700,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5820,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',5880,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6000,'scored',21.0,21.0,1,21.0,21.0,21.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6060,'scored',21.0,21.0,1,21.0,21.0,21.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6180,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6240,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6360,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6420,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6540,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6600,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6720,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6780,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6900,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('a',6960,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('a',7080,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('a',7140,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('b',0,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',180,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',360,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',540,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',720,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',900,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',1080,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',1260,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',1440,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',1620,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',1800,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',1980,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',2160,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',2340,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',2520,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',2700,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',2880,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',3060,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',3240,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',3420,'warming_up',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'1');
INSERT INTO "verdicts" VALUES('b',3780,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('b',3960,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('b',4140,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('b',4320,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('b',4500,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('b',4680,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('b',4860,'scored',-7.6,-7.6,0,-7.6,-7.6,-7.6,NULL,'1');
INSERT INTO "verdicts" VALUES('b',5040,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('b',5220,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('b',5400,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('b',5580,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('b',5760,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
INSERT INTO "verdicts" VALUES('b',5940,'scored',-7.9,-7.9,0,-7.9,-7.9,-7.9,NULL,'1');
INSERT INTO "verdicts" VALUES('b',6120,'scored',21.0,21.0,1,21.0,21.0,21.0,NULL,'1');
INSERT INTO "verdicts" VALUES('b',6300,'scored',-8.0,-8.0,0,-8.0,-8.0,-8.0,NULL,'1');
INSERT INTO "verdicts" VALUES('b',6480,'scored',-7.7,-7.7,0,-7.7,-7.7,-7.7,NULL,'1');
INSERT INTO "verdicts" VALUES('b',6660,'scored',-7.4,-7.4,0,-7.4,-7.4,-7.4,NULL,'1');
INSERT INTO "verdicts" VALUES('b',6840,'scored',-7.8,-7.8,0,-7.8,-7.8,-7.8,NULL,'1');
INSERT INTO "verdicts" VALUES('b',7020,'scored',-7.5,-7.5,0,-7.5,-7.5,-7.5,NULL,'1');
CREATE INDEX verdicts_anomalous ON verdicts (meter_id, at) WHERE anomalous = 1;
CREATE INDEX events_of_meter ON events (meter_id, start_at);
CREATE INDEX events_in_time ON events (start_at);
CREATE INDEX rejected_reasons ON rejected (reason);
CREATE VIEW meter_states AS
SELECT s.meter_id, s.state, p.profile, s.at, s.model_version
FROM hot_states AS s LEFT JOIN profiles AS p ON p.meter_id = s.meter_id;
COMMIT;
