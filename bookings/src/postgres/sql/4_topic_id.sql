-- Which topic the places are of. Of tables from before, the one that is there at the next start.
ALTER TABLE frontrow.topics ADD COLUMN id text;

COMMENT ON COLUMN frontrow.topics.id IS 'Kafka''s id of the topic that next_offset in applied is of: one that is deleted and made anew has another. Null where Kafka gives none';
