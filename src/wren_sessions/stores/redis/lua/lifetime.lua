-- lifetime: use a session, or change how long it lives.
--
-- KEYS  1 the session
-- ARGV  1 idle ms or -   2 max age ms or -   3 what: touch | ttl | pin | unpin
--       4 for ttl, the session's own idle timeout: ms, or none
-- Reply 'done <life> <owner or ->' | 'miss' | 'foreign' | 'version <v>'
local now = now_ms()
local life, refusal = open(K)
if refusal then return refusal end
if not life then return 'miss' end
if ARGV[3] == 'ttl' then life.override = ARGV[4] end
if ARGV[3] == 'pin' then life.pinned = true end
if ARGV[3] == 'unpin' then life.pinned = false end
local ends = deadline(life, now, ARGV[1], ARGV[2])
if ends and ends <= now then return 'miss' end
if ARGV[3] ~= 'touch' then redis.call('HSET', K, ':meta', meta(life)) end
expire(K, ends)
return 'done ' .. life_text(K, life, now, ends or false) .. owner_of(K)
