UPDATE seat SET owner = $2, fence = fence + 1, expires = now() + interval '1 hour'
WHERE id = $1 AND expires <= now()
RETURNING id, fence
