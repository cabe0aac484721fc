-- copy: copy a session, whole.
--
-- KEYS  1 the session   2 the copy
-- ARGV  1 idle ms or -   2 max age ms or -   3 the copy's incarnation   4 '1' to replace
--       5 the copy's header, or ''
--       6 incarnation and revision that the session has, or ''   7 the same of what is replaced, perhaps
--         with pin, own idle timeout and what is noted about it: `as_expected` in _copies.lua
--       8 the owner whose sorted set was told of the copy, - if it is nobody's, or '' if none is to be told
-- Reply 'owned <life that the copy will have> <owner>', and nothing was written: their set is to be told first
--       | 'done <life> <owner or -> <owner of what was replaced, if that had no end, or ->' | 'miss'
--       | 'exists' | 'conflict' | 'expired' | 'foreign' | 'version <v>'
-- A copy that was made already with this incarnation is answered as the first time.
local life, refusal = open(K)
if refusal then return refusal end
if not life then return 'miss' end
namespaces(life) -- none of their heads is lost
-- Here comes _copies.lua.
return copied(KEYS[2], life, now_ms(), ARGV[8] ~= '' and owner_of(K) ~= ' ' .. ARGV[8], function()
  if type(redis.pcall('COPY', K, KEYS[2], 'REPLACE')) ~= 'table' then return end
  local all = redis.call('HGETALL', K) -- some servers have no COPY
  redis.call('HSET', K, ':meta', redis.call('HGET', K, ':meta')) -- fails if nothing may be written
  redis.call('UNLINK', KEYS[2])
  for at = 1, #all, MOST do
    redis.call('HSET', KEYS[2], unpack(all, at, math.min(at + MOST - 1, #all)))
  end
end)
