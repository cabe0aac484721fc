-- load: one checkpoint, its pending writes, and the parts of the arena that they refer to.
--
-- KEYS  1 the session
-- ARGV  1 five words: idle ms or -, max age ms or -, refresh, /namespace, id or : for the latest
--       2 the most bytes of the arena to reply
--       3 '', or what the caller has of the arena: an incarnation, and spans in ascending order
-- Reply {'done <life> <id> <parts> <segments, or - for too many> <spans of the writes>',
--        record, header, parts of the log …, key and body of replaceable writes …, segments …}
--       | 'miss' | 'foreign' | 'version <v>'
-- The segments are those that the spans touch, but for what the caller has, each once, in
-- ascending order.
local now = now_ms()
local idle, max_age, refresh, ns, id = string.match(ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
local there, life, refusal, value, log
if id == NO_ID then
  there = redis.call('HMGET', K, ':meta', 'state', ':head' .. ns)
  life, refusal = life_of(K, there[1])
  if not life then return refusal or 'miss' end
  local h = head_of(life, ns, there[3])
  if not h then return 'miss' end
  id = h[1]
  local found = redis.call('HMGET', K, record_field(ns, id), log_field(ns, id))
  value, log = found[1], found[2]
  if not value then damaged(record_field(ns, id)) end
else
  there = redis.call('HMGET', K, ':meta', 'state', record_field(ns, id), log_field(ns, id))
  life, refusal = life_of(K, there[1])
  if not life then return refusal or 'miss' end
  value, log = there[3], there[4]
  if not value then return 'miss' end
end
local w = record_of(ns, id, value)
local reply = {'', value, there[2] or ''}
local parts, spans = pending(ns, id, log, reply)

-- The segments' numbers: `wanted` has those of `names`.
local wanted, names, ascending = {}, {}, true
local function want_all_of(offset, stop)
  for n = math.floor(offset / SEGMENT), math.floor((stop - 1) / SEGMENT) do
    if not wanted[n] then
      wanted[n] = true
      ascending = ascending and (#names == 0 or names[#names] < n)
      names[#names + 1] = n
    end
  end
end
local held = {}
local incarnation, has = string.match(ARGV[3], '^(%S+) (%S+)$')
if incarnation == life.incarnation then
  for offset, length in string.gmatch(has, '(%d+)%+(%d+)') do
    held[#held + 1] = {tonumber(offset), tonumber(offset) + tonumber(length)}
  end
end
local function want(field, offset, length)
  offset, length = number(field, offset), number(field, length)
  local stop = offset + length
  if length == 0 then return end
  if stop > life.arena then damaged(field) end
  for _, there in ipairs(held) do
    if there[2] > offset and there[1] < stop then
      if there[1] > offset then want_all_of(offset, there[1]) end
      offset = there[2]
    end
  end
  if offset < stop then want_all_of(offset, stop) end
end
local function want_all(field, list)
  for offset, length in string.gmatch(list, '(%d+)%+(%d+)') do want(field, offset, length) end
end
want_all(record_field(ns, id), w[5])
want_all(log_field(ns, id), spans)
want(record_field(ns, id), w[2], w[3])
local count = '-'
if #names * SEGMENT <= tonumber(ARGV[2]) then
  count = #names
  if not ascending then table.sort(names) end
  for i, n in ipairs(names) do names[i] = ':a' .. n end
  fetch(names, reply)
end

local ends = nil
if refresh == 'read' and not life.pinned then
  ends = deadline(life, now, idle, max_age) or false
  if ends and ends <= now then return 'miss' end
  expire(K, ends)
end
reply[1] = table.concat(
  {'done', life_text(K, life, now, ends), id, parts, count, spans}, ' '
)
return reply
