-- delete_owned: delete a session, if it is this owner's. Like any deletion, it does not read the session.
--
-- KEYS  1 the session
-- ARGV  1 the owner
-- Reply 'done <now> <owner, if the session had no end, or ->' | 'miss' | 'conflict'
local kind = redis.call('TYPE', K).ok
if kind == 'none' then return 'miss' end
if kind ~= 'hash' or owner_of(K) ~= ' ' .. ARGV[1] then return 'conflict' end
local whose = lasting_owner_of(K)
redis.call('UNLINK', K)
return 'done ' .. int(now_ms()) .. whose
