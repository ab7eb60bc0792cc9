UPDATE seat SET owner = NULL, expires = '-infinity'
WHERE id = $1 AND owner = $2 AND fence = $3 AND expires > now()
RETURNING id, fence
