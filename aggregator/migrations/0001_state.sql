-- The state store: an ordered map with the commit that last wrote each key, the newest changes, and leases.

CREATE TABLE entry (
    key      TEXT    NOT NULL PRIMARY KEY,
    value    BLOB    NOT NULL,
    revision INTEGER NOT NULL,
    lease    INTEGER
) STRICT;

CREATE INDEX entry_of_lease ON entry (lease) WHERE lease IS NOT NULL;

-- What changed, for watches; the oldest go first. No value: the key was deleted.
CREATE TABLE change (
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    value    BLOB,
    PRIMARY KEY (revision, position)
) STRICT;

-- `renewals` tells a process that another one renewed the lease; when it ends is kept in memory, by a clock
-- that nobody can set.
CREATE TABLE lease (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    ttl_ms   INTEGER NOT NULL,
    renewals INTEGER NOT NULL
) STRICT;

CREATE TABLE counter (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- revision: newest commit. compacted: newest commit whose changes are no longer kept.
INSERT INTO counter (name, value) VALUES ('revision', 0), ('compacted', 0);
