-- list_in: note in an owner's sorted set when sessions were written and when they end, or that they are not theirs.
--
-- KEYS  1 the sorted set
-- ARGV  1 three words for each: its name, when it was written, when it ends or - for never; or
--         its name, a time, and `out`: it goes if it was not written later; or
--         its name, how long it lives or -, and `soon`: it is about to be written. What is noted of it
--         already stays, but for an end that is too early
-- Reply 'done <now>'
-- Here comes _owners.lua.
local now = now_ms()
for name, when, ends in string.gmatch(ARGV[1], '(%S+) (%S+) (%S+)') do
  if ends == 'soon' then
    local lives = tonumber(when)
    listed(K, name, redis.call('ZSCORE', K, name) or now, lives and now + lives, true)
  elseif ends ~= 'out' then
    listed(K, name, when, tonumber(ends))
  elseif (tonumber(redis.call('ZSCORE', K, name)) or 0) <= tonumber(when) then
    redis.call('ZREM', K, name, ':' .. name)
  end
end
let_end(K)
return 'done ' .. int(now)
