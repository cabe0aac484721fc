-- copy_out: a session whole, for a copy in another slot; see copy_in.lua.
--
-- KEYS  1 the session
-- ARGV  1 incarnation and revision that the session has, or ''
-- Reply {'done', the field :meta, the dump} | 'miss' | 'conflict' | 'foreign' | 'version <v>'
local life, refusal = open(K)
if refusal then return refusal end
if not life then return 'miss' end
namespaces(life) -- none of their heads is lost
-- Here comes _copies.lua.
if not as_expected(ARGV[1], life, K) then return 'conflict' end
return {'done', redis.call('HGET', K, ':meta'), redis.call('DUMP', K)}
