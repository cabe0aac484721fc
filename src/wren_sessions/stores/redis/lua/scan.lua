-- scan: records with their pending writes by descending id, namespace after namespace.
--
-- KEYS  1 the session
-- ARGV  1 how many at the most
--       2 words: pairs of /namespace and the id below which to start, or : to start at the top
-- Reply {'done [<life> <bytes of the arena> <fields of the session>]', where the rest starts,
--        the heads, entries …} | 'foreign' | 'version <v>'
-- Pairs are numbered from 1. An entry is {'<pair number> <id> <parts> <spans of the writes>', record,
-- parts of the log …, key and body of replaceable writes …}; where the rest starts is '' or '<pair number> <the id below which to
-- go on, or : for the top>'. The heads are pairs of '<pair number> <id>', of the namespaces reached.
local life, refusal = open(K)
if refusal then return refusal end
if not life then return {'done', '', ''} end
local now, limit = now_ms(), tonumber(ARGV[1])
local size = int(life.arena) .. ' ' .. int(redis.call('HLEN', K))
local reply, heads = {'done ' .. life_text(K, life, now) .. ' ' .. size, '', ''}, {}

-- The first id of a namespace below `before`, and what its log holds at least.
local function first(h, ns, before)
  if not h then
    headless(life, ns)
    return NO_ID
  end
  local id, w = h[2], nil
  if before ~= NO_ID then
    w = record(ns, before)
    local this = string.match(before, '^(.+)%%00$') -- the next higher id: begins with this one
    if w then
      id = w[4]
    elseif this and record(ns, this) then
      id = this
    else
      while id ~= NO_ID and not below(id, before) do
        w = chained(ns, id)
        id = w[4]
      end
    end
  end
  if id == NO_ID then return id end
  return id, w and id ~= h[1] and tonumber(w[6]) or least_of(life, ns, id, h)
end

local at = 0
for ns, last in string.gmatch(ARGV[2], '(%S+) (%S+)') do
  at = at + 1
  local h = head(life, ns)
  if h then
    heads[#heads + 1] = at .. ' ' .. h[1]
    reply[3] = table.concat(heads, ' ')
  end
  local id, least = first(h, ns, last)
  while id ~= NO_ID do
    if #reply - 3 == limit then
      reply[2] = at .. ' ' .. last
      return reply
    end
    local found = redis.call('HMGET', K, record_field(ns, id), log_field(ns, id))
    local w = record_of(ns, id, found[1])
    if not w then damaged(record_field(ns, id)) end
    local entry = {'', found[1]}
    local parts, spans = pending(life, ns, id, found[2], least, entry)
    entry[1] = at .. ' ' .. id .. ' ' .. parts .. ' ' .. spans
    reply[#reply + 1] = entry
    last, id, least = id, w[4], w[4] == h[1] and tonumber(h[4]) or tonumber(w[6])
  end
end
return reply
