-- The sorted set of an owner's sessions, KEYS[2]: its members are names, their scores when they were
-- written. It lives as long as the longest-lived of them.
local function listed(updated, ends)
  local left = redis.call('PTTL', KEYS[2])
  redis.call('ZADD', KEYS[2], int(updated), string.match(K, '([^:]+):latest$'))
  if not ends then
    if left ~= -1 then redis.call('PERSIST', KEYS[2]) end
  elseif left ~= -1 and left < ends - now then
    redis.call('PEXPIREAT', KEYS[2], int(ends))
  end
end
