-- list_in: note in an owner's sorted set when sessions were written, or that they are not theirs.
--
-- KEYS  1 the sorted set
-- ARGV  1 when, or '' to take them out if they were not written later than 2   2 a time
--       3 when they end at the latest, ms since 1970, or - for never   4 … the names
-- Reply 'done'
for i = 4, #ARGV do
  if ARGV[1] == '' then
    local score = redis.call('ZSCORE', K, ARGV[i])
    if score and tonumber(score) <= tonumber(ARGV[2]) then redis.call('ZREM', K, ARGV[i]) end
  else
    local left = redis.call('PTTL', K)
    redis.call('ZADD', K, ARGV[1], ARGV[i])
    if ARGV[3] == '-' then
      if left ~= -1 then redis.call('PERSIST', K) end
    elseif left ~= -1 and left < ARGV[3] - now_ms() then
      redis.call('PEXPIREAT', K, ARGV[3])
    end
  end
end
return 'done'
