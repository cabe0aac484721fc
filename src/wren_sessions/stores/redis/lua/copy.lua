-- copy: copy a session, whole.
--
-- KEYS  1 the session   2 the copy
-- ARGV  1 idle ms or -   2 max age ms or -   3 the copy's incarnation   4 '1' to replace
--       5 the copy's header, or ''
--       6 incarnation and revision that the session has, or ''   7 the same of what is replaced
-- Reply 'done <life>' | 'miss' | 'exists' | 'conflict' | 'expired' | 'foreign' | 'version <v>'
-- A copy that was made already with this incarnation is answered as the first time.
local now = now_ms()
local life, refusal = open(K)
if refusal then return refusal end
if not life then return 'miss' end
namespaces(life) -- none of their heads is lost
local function as_expected(known, there)
  if known == '' then return true end
  return there and known == there.incarnation .. ' ' .. int(there.revision)
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  local raw = redis.call('TYPE', KEYS[2]).ok == 'hash' and redis.call('HGET', KEYS[2], ':meta')
  if raw and string.match(raw, '^%S+ (%S+)') == ARGV[3] then
    return 'done ' .. life_text(KEYS[2], open(KEYS[2]), now)
  end
  if ARGV[4] ~= '1' then return 'exists' end
end
if not as_expected(ARGV[6], life) then return 'conflict' end
if ARGV[7] ~= '' and not as_expected(ARGV[7], open(KEYS[2])) then return 'conflict' end
life.incarnation = ARGV[3]
life.updated = now
local ends = deadline(life, now, ARGV[1], ARGV[2])
if ends and ends <= now then return 'expired' end
if type(redis.pcall('COPY', K, KEYS[2], 'REPLACE')) == 'table' then -- some servers have no COPY
  local all = redis.call('HGETALL', K)
  redis.call('HSET', K, ':meta', redis.call('HGET', K, ':meta')) -- fails if nothing may be written
  redis.call('UNLINK', KEYS[2])
  for at = 1, #all, MOST do
    redis.call('HSET', KEYS[2], unpack(all, at, math.min(at + MOST - 1, #all)))
  end
end
redis.call('HSET', KEYS[2], ':meta', meta(life))
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], 'state', ARGV[5]) end
expire(KEYS[2], ends)
return 'done ' .. life_text(KEYS[2], life, now, ends or false)
