-- copy_in: make a session of what copy_out.lua gave, whole: the other half of a copy across slots.
--
-- KEYS  1 the copy
-- ARGV  1 … 7 as of copy.lua, of which 6 is ''   8 the field :meta of the source   9 the dump
-- Reply as of copy.lua
local life, refusal = life_of(K, ARGV[8])
if refusal then return refusal end
-- Here comes _copies.lua.
return copied(K, life, now_ms(), false, function()
  redis.call('RESTORE', K, '0', ARGV[9], 'REPLACE')
end)
