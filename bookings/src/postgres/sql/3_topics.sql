-- Whose bookings these are. Of tables from before, the topic says it at the next start.
CREATE TABLE frontrow.topics (
    topic text PRIMARY KEY,
    cluster text
);

COMMENT ON TABLE frontrow.topics IS 'The topic that the bookings come from';
COMMENT ON COLUMN frontrow.topics.cluster IS 'Whose records are taken, as their header has it; others are set aside. Null until it is known';
