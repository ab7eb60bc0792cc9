#!lua name=frontrow_peer

-- A hold is a key of its own that Redis itself forgets when its time is over: free or expired is one question.

-- KEYS: the seat, the counter of fences. ARGV: the owner, how long in ms. The fence, or 0 if the seat is held.
redis.register_function('claim', function(keys, args)
  local fence = redis.call('INCR', keys[2])
  if redis.call('SET', keys[1], args[1] .. ':' .. fence, 'NX', 'PX', args[2]) then
    return fence
  end
  return 0
end)

-- KEYS: the seat. ARGV: the owner, the fence. 1 if it was held so and is free now, else 0.
redis.register_function('release', function(keys, args)
  if redis.call('GET', keys[1]) == args[1] .. ':' .. args[2] then
    return redis.call('DEL', keys[1])
  end
  return 0
end)
