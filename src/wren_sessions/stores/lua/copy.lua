-- copy: copy a session, whole.
--
-- KEYS  1 the session   2 the copy
-- ARGV  1 idle ms or -   2 max age ms or -   3 the copy's incarnation   4 '1' to replace
-- Reply {'done', life} | {'miss'} | {'exists'} | {'expired'} | {'foreign'} | {'version', v}
-- A copy that was made already with this incarnation is answered as the first time.
local now = now_ms()
local life, refusal = open(K)
if refusal then return refusal end
if not life then return {'miss'} end
if redis.call('EXISTS', KEYS[2]) == 1 then
  local raw = redis.call('TYPE', KEYS[2]).ok == 'hash' and redis.call('HGET', KEYS[2], ':meta')
  if raw and words(raw)[2] == ARGV[3] then
    return {'done', life_text(KEYS[2], open(KEYS[2]), now)}
  end
  if ARGV[4] ~= '1' then return {'exists'} end
end
life.incarnation = ARGV[3]
life.updated = now
local ends = deadline(life, now, ARGV[1], ARGV[2])
if ends and ends <= now then return {'expired'} end
redis.call('COPY', K, KEYS[2], 'REPLACE')
redis.call('HSET', KEYS[2], ':meta', meta(life))
expire(KEYS[2], ends)
return {'done', life_text(KEYS[2], life, now)}
