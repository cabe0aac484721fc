-- Note in the sorted set of an owner's sessions when one of them was written: its members are names,
-- their scores such times. It lives as long as the longest-lived of them; `ends` false: for ever.
local function listed(set, name, updated, ends, now)
  local left = redis.call('PTTL', set)
  redis.call('ZADD', set, updated, name)
  if not ends then
    if left ~= -1 then redis.call('PERSIST', set) end
  elseif left ~= -1 and left < ends - now then
    redis.call('PEXPIREAT', set, int(ends))
  end
end
