-- A seat is free when its hold has expired; one that was never held has expired long ago. So free or expired is one
-- question. Room is left in each page, so that an update stays in it and touches no index.
CREATE TABLE seat (
  id integer PRIMARY KEY,
  section integer NOT NULL,
  owner bigint,
  fence bigint NOT NULL DEFAULT 0,
  expires timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

CREATE TABLE hot_seat (LIKE seat INCLUDING ALL) WITH (fillfactor = 10);

-- To find any free seat of a section its expiry must be in the index.
CREATE TABLE section_seat (LIKE seat INCLUDING ALL) WITH (fillfactor = 50);
CREATE INDEX ON section_seat (section, expires);
