CREATE TABLE products (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
    price_cents integer NOT NULL CHECK (price_cents BETWEEN 0 AND 10000000),
    created_at  timestamptz NOT NULL DEFAULT now()
);
