-- When a key ends, and setting it.

local function expire(key, ends)
  if ends then redis.call('PEXPIREAT', key, int(ends)) else redis.call('PERSIST', key) end
end

-- When the server will remove a key, to the millisecond; nil for never.
local function ends_at(key)
  local at = redis.pcall('PEXPIRETIME', key)
  if type(at) == 'number' then return at >= 0 and at or nil end
  while true do -- Redis 6.2 only tells how long it is, from a clock that may tick between two calls
    local before, left, after = now_ms(), redis.call('PTTL', key), now_ms()
    if left < 0 then return nil end
    if before == after then return after + left end
  end
end
