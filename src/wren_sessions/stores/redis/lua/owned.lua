-- owned: one page of the names of an owner's sessions, those first that were written last.
--
-- KEYS  1 the sorted set, as _owners.lua has it
-- ARGV  1 how many   2 when the last one of the page before was written, or ''   3 its name
-- Reply {'done <how many there are>', name, when, when it ends, name, …}; the end is - for never, or
--       '' if it was not noted
-- Here comes _owners.lua.
local function less(a, b) -- as the set is sorted
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local most, found, begin = tonumber(ARGV[1]), {}, '+inf'
local function add(name, when)
  local ends = redis.call('ZSCORE', K, ':' .. name)
  ends = ends and -tonumber(ends)
  found[#found + 1] = name
  found[#found + 1] = when
  found[#found + 1] = not ends and '' or ends >= NEVER and '-' or int(ends)
end
if ARGV[2] ~= '' then
  -- Of those that were written at the same time, the higher names came before.
  for _, name in ipairs(redis.call('ZREVRANGEBYSCORE', K, ARGV[2], ARGV[2])) do
    if #found < 3 * most and less(name, ARGV[3]) then add(name, ARGV[2]) end
  end
  begin = '(' .. ARGV[2]
end
local rest = redis.call(
  'ZREVRANGEBYSCORE', K, begin, '0', 'WITHSCORES', 'LIMIT', '0', int(most - #found / 3)
)
for i = 1, #rest, 2 do add(rest[i], rest[i + 1]) end
table.insert(found, 1, 'done ' .. redis.call('ZCOUNT', K, '0', '+inf'))
return found
