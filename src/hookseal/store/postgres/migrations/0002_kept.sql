-- What the gateway keeps for itself, by shelf and name: consents of endpoints, the key of our own issuer. Few and small.
CREATE TABLE kept (
    shelf text NOT NULL,
    name text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (shelf, name)
);
