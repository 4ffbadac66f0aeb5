-- What the gateway keeps for itself, by shelf and name: consents of endpoints, the key of our own issuer. Few and small.
CREATE TABLE kept (
    shelf TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (shelf, name)
) STRICT, WITHOUT ROWID;
