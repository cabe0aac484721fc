-- list_in: note in an owner's sorted set when sessions were written, or that they are not theirs.
--
-- KEYS  1 the sorted set
-- ARGV  1 when, or '' to take them out if they were not written later than 2   2 a time
--       3 when they end at the latest, ms since 1970, or - for never   4 … the names
-- Reply 'done'
-- Here comes _owners.lua.
local ends = ARGV[3] ~= '-' and tonumber(ARGV[3])
for i = 4, #ARGV do
  if ARGV[1] == '' then
    local score = redis.call('ZSCORE', K, ARGV[i])
    if score and tonumber(score) <= tonumber(ARGV[2]) then redis.call('ZREM', K, ARGV[i]) end
  else
    listed(K, ARGV[i], ARGV[1], ends, now_ms())
  end
end
return 'done'
