-- info: a session's life, header and size.
--
-- KEYS  1 the session
-- Reply {'done <life> <idle ms, none or ->', header, size in bytes or '', the field :about or ''} | 'miss' | 'foreign'
--       | 'version <v>'
local life, refusal = open(K)
if refusal then return refusal end
if not life then return 'miss' end
if life.last_ns ~= '-' then head(life, life.last_ns) end
local size = redis.pcall('MEMORY', 'USAGE', K, 'SAMPLES', '0') -- may be forbidden
if type(size) ~= 'number' then size = '' end
local there = redis.call('HMGET', K, 'state', ':about')
return {'done ' .. life_text(K, life, now_ms()) .. ' ' .. life.override, there[1] or '', size, there[2] or ''}
