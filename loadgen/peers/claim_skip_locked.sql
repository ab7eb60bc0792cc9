UPDATE section_seat SET owner = $2, fence = fence + 1, expires = now() + interval '1 hour'
WHERE id = (
  SELECT id FROM section_seat WHERE section = $1 AND expires <= now()
  LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, fence
