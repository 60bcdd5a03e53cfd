-- Which releases used the store, the newest last. Read by every later and every earlier release, to say whose the store
-- is: its columns never change.

CREATE TABLE release (
    number  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    version TEXT    NOT NULL,
    schema  INTEGER NOT NULL
) STRICT;
