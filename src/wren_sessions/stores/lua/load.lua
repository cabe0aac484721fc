-- load: one checkpoint, its pending writes, and the parts of the arena that they refer to.
--
-- KEYS  1 the session
-- ARGV  1 idle ms or -   2 max age ms or -   3 refresh   4 /namespace   5 id, or '' for the latest
--       6 the most bytes of the arena to reply
-- Reply {'done', life, id, record, log parts, special pairs, segments or '', header} | {'miss'}
--       | {'foreign'} | {'version', v}
-- The segments are those that the spans touch, each once, in ascending order.
local now = now_ms()
local life, refusal = open(K)
if refusal then return refusal end
if not life then return {'miss'} end
local ns, id = ARGV[4], ARGV[5]
local w, value, _
if id == '' then
  local h = head(life, ns)
  if not h then return {'miss'} end
  id = h[1]
  w, _, value = chained(ns, id)
else
  w, _, value = record(ns, id)
  if not w then return {'miss'} end
end
local parts, special, spans = pending(ns, id)

local wanted, names = {}, {}
local function want(field, offset, length)
  offset, length = number(field, offset), number(field, length)
  if length == 0 then return end
  if offset + length > life.arena then damaged(field) end
  for n = math.floor(offset / SEGMENT), math.floor((offset + length - 1) / SEGMENT) do
    if not wanted[n] then
      wanted[n] = true
      names[#names + 1] = n
    end
  end
end
want(record_field(ns, id), w[2], w[3])
for field, list in pairs({[record_field(ns, id)] = w[5], [log_field(ns, id)] = spans}) do
  for offset, length in string.gmatch(list, '(%d+)%+(%d+)') do want(field, offset, length) end
end
local segments = {}
if #names * SEGMENT > tonumber(ARGV[6]) then
  segments = ''
else
  table.sort(names)
  for i, n in ipairs(names) do names[i] = ':a' .. int(n) end
  for at = 1, #names, 4000 do
    local some = redis.call('HMGET', K, unpack(names, at, math.min(at + 3999, #names)))
    for _, segment in ipairs(some) do segments[#segments + 1] = segment end
  end
end

if ARGV[3] == 'read' and not life.pinned then
  local ends = deadline(life, now, ARGV[1], ARGV[2])
  if ends and ends <= now then return {'miss'} end
  expire(K, ends)
end
local state = redis.call('HGET', K, 'state') or ''
return {'done', life_text(K, life, now), id, value, parts, special, segments, state}
