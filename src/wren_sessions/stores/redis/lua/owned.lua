-- owned: one page of the names of an owner's sessions, those first that were written last.
--
-- KEYS  1 the sorted set
-- ARGV  1 how many   2 when the last one of the page before was written, or ''   3 its name
-- Reply {'done <how many there are>', name, when, name, when, …}
local function less(a, b) -- as the set is sorted
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local most, found, begin = tonumber(ARGV[1]), {}, '+inf'
if ARGV[2] ~= '' then
  -- Of those that were written at the same time, the higher names came before.
  for _, name in ipairs(redis.call('ZREVRANGEBYSCORE', K, ARGV[2], ARGV[2])) do
    if #found < 2 * most and less(name, ARGV[3]) then
      found[#found + 1] = name
      found[#found + 1] = ARGV[2]
    end
  end
  begin = '(' .. ARGV[2]
end
local rest = redis.call(
  'ZREVRANGEBYSCORE', K, begin, '-inf', 'WITHSCORES', 'LIMIT', '0', int(most - #found / 2)
)
for i = 1, #rest do found[#found + 1] = rest[i] end
table.insert(found, 1, 'done ' .. redis.call('ZCARD', K))
return found
