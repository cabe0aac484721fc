-- load: one checkpoint, its pending writes, and the parts of the arena that they refer to.
--
-- KEYS  1 the session
-- ARGV  1 five words: idle ms or -, max age ms or -, refresh, /namespace, id or : for the latest
--       2 the most bytes of the arena to reply
--       3 '', or what the caller has of the arena: an incarnation, and spans in ascending order
-- Reply {'done <life> <id> <parts> <segments, or - for too many> <spans of the writes>',
--        record, header, parts of the log …, key and body of replaceable writes …, segments …}; where
--        refresh is `read`, the first text ends with the owner or -
--       | 'miss' | 'foreign' | 'version <v>'
-- The segments are those that the spans touch, but for what the caller has, each once, in
-- ascending order.
local now = now_ms()
local idle, max_age, refresh, ns, id = string.match(ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
local there, life, refusal, value, log, least
if id == NO_ID then
  there = redis.call('HMGET', K, ':meta', 'state', ':head' .. ns)
  life, refusal = life_of(K, there[1])
  if not life then return refusal or 'miss' end
  local h = head_of(life, ns, there[3])
  if not h then
    headless(life, ns)
    return 'miss'
  end
  id, least = h[1], tonumber(h[4])
  local found = redis.call('HMGET', K, record_field(ns, id), log_field(ns, id))
  value, log = found[1], found[2]
  if not value then damaged(record_field(ns, id)) end
else
  there = redis.call(
    'HMGET', K, ':meta', 'state', ':head' .. ns, record_field(ns, id), log_field(ns, id)
  )
  life, refusal = life_of(K, there[1])
  if not life then return refusal or 'miss' end
  value, log = there[4], there[5]
  if not value then
    absent(life, record_field(ns, id))
    return 'miss'
  end
  least = least_of(life, ns, id, head_of(life, ns, there[3]))
end
local w = record_of(ns, id, value)
local reply = {'', value, there[2] or ''}
local parts, linked = pending(life, ns, id, log, least, reply)

-- What is referred to of the arena: `spans` has where each part begins and ends.
local spans, ascending = {}, true
local function want(field, offset, length)
  offset, length = number(field, offset), number(field, length)
  if offset + length > life.arena then damaged(field) end
  if length == 0 then return end
  ascending = ascending and (#spans == 0 or spans[#spans][1] <= offset)
  spans[#spans + 1] = {offset, offset + length}
end
local function want_all(field, list)
  for offset, length in string.gmatch(list, '(%d+)%+(%d+)') do want(field, offset, length) end
end
want_all(record_field(ns, id), w[5])
want(record_field(ns, id), w[2], w[3])
want_all(log_field(ns, id), linked)
if not ascending then
  -- A list can be made so that sorting it takes the square of its length.
  local left = 64 * #spans + 4096
  table.sort(spans, function(a, b)
    left = left - 1
    if left < 0 then damaged(record_field(ns, id)) end
    return a[1] < b[1]
  end)
end

-- What the caller has of it.
local held = {}
local incarnation, has = string.match(ARGV[3], '^(%S+) (%S+)$')
if incarnation == life.incarnation then
  for offset, length in string.gmatch(has, '(%d+)%+(%d+)') do
    held[#held + 1] = {tonumber(offset), tonumber(offset) + tonumber(length)}
  end
end

-- The segments that are left, ascending: `count` of them, `names` while they are few enough.
local most = math.floor(tonumber(ARGV[2]) / SEGMENT)
local names, count, last = {}, 0, -1
local function take(offset, stop)
  local first, final = math.floor(offset / SEGMENT), math.floor((stop - 1) / SEGMENT)
  if first <= last then first = last + 1 end
  if first > final then return end
  count, last = count + final - first + 1, final
  if count > most then return end
  for n = first, final do names[#names + 1] = ':a' .. int(n) end
end
local seen, at = 0, 1 -- both lists ascend, so each is gone through once
for _, span in ipairs(spans) do
  local offset, stop = math.max(span[1], seen), span[2]
  while offset < stop do
    local there = held[at]
    if there and there[2] <= offset then
      at = at + 1
    elseif there and there[1] <= offset then
      offset = there[2]
    else
      local gap = there and math.min(there[1], stop) or stop
      take(offset, gap)
      offset = gap
    end
  end
  seen = math.max(seen, offset)
end
if count <= most then
  fetch(names, reply)
else
  if count > redis.call('HLEN', K) then damaged(record_field(ns, id)) end
  count = '-'
end

local ends = nil
if refresh == 'read' and not life.pinned then
  ends = deadline(life, now, idle, max_age) or false
  if ends and ends <= now then return 'miss' end
  expire(K, ends)
end
reply[1] = table.concat(
  {'done', life_text(K, life, now, ends), id, parts, count, linked}, ' '
)
if refresh == 'read' then reply[1] = reply[1] .. owner_of(K) end
return reply
