-- annotate: say whose a session is, and what is noted about it.
--
-- KEYS  1 the session
-- ARGV  1 what is noted now, as the field has it, or ''   2 what is to be noted, or ''
-- Reply 'done <life>' | 'miss' | 'conflict' | 'foreign' | 'version <v>'
-- The field :about holds the owner or -, a space, and what is noted.
local life, refusal = open(K)
if refusal then return refusal end
if not life then return 'miss' end
local there = redis.call('HGET', K, ':about') or ''
if there ~= ARGV[2] then
  if there ~= ARGV[1] then return 'conflict' end
  if life.count then
    life.count = life.count + (ARGV[2] == '' and 0 or 1) - (there == '' and 0 or 1)
  end
  redis.call('HSET', K, ':meta', meta(life))
  if ARGV[2] == '' then
    redis.call('HDEL', K, ':about')
  else
    redis.call('HSET', K, ':about', ARGV[2])
  end
end
return 'done ' .. life_text(K, life, now_ms())
