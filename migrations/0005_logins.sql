-- A preview's database has two logins, which take turns when its password is rotated. The version before
-- writes none of these columns, and reads the first login's password, as ever.

ALTER TABLE previews
    -- How often a person asked for another password: after an odd number it is the second login's turn.
    ADD COLUMN rotations integer NOT NULL DEFAULT 0 CHECK (rotations >= 0),
    -- How many of these have come to their end: the login before is locked.
    ADD COLUMN rotated integer NOT NULL DEFAULT 0 CHECK (rotated >= 0),
    -- The second login's password; database_password is the first's.
    ADD COLUMN second_password text;
