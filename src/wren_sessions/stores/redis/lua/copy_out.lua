-- copy_out: a session whole, for a copy in another slot; see copy_in.lua.
--
-- KEYS  1 the session
-- ARGV  1 incarnation and revision that the session has, or ''   2 idle ms or -   3 max age ms or -
-- Reply {'done <life that the copy will have> <owner or ->', the field :meta, the dump}
--       | 'miss' | 'conflict' | 'foreign' | 'version <v>'
local life, refusal = open(K)
if refusal then return refusal end
if not life then return 'miss' end
namespaces(life) -- none of their heads is lost
-- Here comes _copies.lua.
if not as_expected(ARGV[1], life, K) then return 'conflict' end
local now = now_ms()
return {
  'done ' .. life_text(K, life, now, deadline(life, now, ARGV[2], ARGV[3]) or false) .. owner_of(K),
  redis.call('HGET', K, ':meta'), redis.call('DUMP', K),
}
