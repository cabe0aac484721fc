-- prune: drop checkpoints with their pending writes, and segments of the arena.
--
-- KEYS  1 the session
-- ARGV  1 incarnation   2 revision   3 header or ''
--       4 the checkpoints, 5 what are to be heads: words, pairs of /namespace and id
--       6 numbers of segments, as words   7 a new incarnation, or ''
-- Reply 'done <life> 0' | 'deleted <now> <owner or ->' | 'gone <now> [<life>]' | 'conflict <now> <life>'
--       | 'foreign' | 'version <v>'
-- The arena's last segment stays, for the next commit fills it. Where checkpoints of a namespace are
-- dropped, so are its pending writes whose checkpoint never came and would be lower than all that are left.
-- A prune that has given the session this incarnation already is answered as the first time.
local now = now_ms()
local life, refusal = open(K)
if refusal then return refusal end
if life and life.incarnation == ARGV[7] then return 'done ' .. life_text(K, life, now) .. ' 0' end
if not life or life.incarnation ~= ARGV[1] then return refused('gone', life, now) end
if life.revision ~= tonumber(ARGV[2]) then return refused('conflict', life, now) end

-- Everything is worked out before anything is written: `fields` go, `out` holds fields and values.
local fields, out, dropped = {}, {}, {}
local function drop(field) fields[#fields + 1] = field end
local function set(field, value)
  out[#out + 1] = field
  out[#out + 1] = value
end

local function drop_log(ns, id)
  local field = log_field(ns, id)
  local log = log_of(field, redis.call('HGET', K, field))
  if not log then return end
  drop(field)
  log_parts(log, drop)
  for n = 1, log.span_lists do drop(field .. '/s' .. n) end
  if log.count == 0 and log.keys == '-' then return end
  for n = 1, log.key_lists do drop(field .. '/k' .. n) end
  for _, key in ipairs(special_keys(log)) do drop(special_prefix(ns, id) .. key) end
end

local named = {}
for ns, id in string.gmatch(ARGV[4], '(%S+) (%S+)') do
  dropped[ns] = dropped[ns] or {}
  dropped[ns][id] = true
  drop(record_field(ns, id))
  drop_log(ns, id)
end
for ns, id in string.gmatch(ARGV[5], '(%S+) (%S+)') do
  if not (dropped[ns] and dropped[ns][id]) and record(ns, id) then named[ns] = id end
end
local last = math.floor(life.arena / SEGMENT)
for n in string.gmatch(ARGV[6], '%d+') do
  if tonumber(n) ~= last then drop(':a' .. n) end
end

-- A namespace's chain of ids without what is dropped; the highest and the lowest id that are left, if any.
-- `leasts` gets what the logs of those that are left hold at least, as the records above them say.
local function relink(ns, id, leasts)
  local gone, top, above, least = dropped[ns], nil, nil, nil
  local function point(lower)
    if above and above.words[4] ~= lower then
      above.words[4] = lower
      if above.words[6] then above.words[6] = least or '-' end
      set(record_field(ns, above.id), rewritten(above.words, above.at, above.value))
    end
  end
  while id ~= NO_ID do
    local w, at, value = chained(ns, id)
    local after = w[4]
    if not gone[id] then
      top = top or id
      point(id)
      above = {id = id, words = w, at = at, value = value}
      leasts[id] = least
    end
    least, id = w[6], after
  end
  point(NO_ID)
  return top, above and above.id
end

local heads, emptied, lowest = {}, false, {}
for ns, gone in pairs(dropped) do
  local h = head(life, ns)
  if h then
    local leasts = {}
    local top, low = relink(ns, h[2], leasts)
    lowest[ns] = low or h[2]
    local leads = named[ns] or gone[h[1]] and top or h[1]
    if leads ~= h[1] and h[4] then h[4] = leasts[leads] or '-' end
    h[1] = leads
    h[2] = top
    heads[ns] = h
    emptied = emptied or not top
  else
    headless(life, ns)
  end
end

for ns, id in pairs(named) do
  local h = not heads[ns] and head(life, ns)
  if h then
    if id ~= h[1] and h[4] then h[4] = '-' end
    h[1] = id
    heads[ns] = h
  end
end

if next(lowest) then
  for _, field in ipairs(redis.call('HKEYS', K)) do
    local ns, id = string.match(field, '^:w(/[^/]*)/([^/]+)$')
    if lowest[ns] and not dropped[ns][id] and below(id, lowest[ns]) then drop_log(ns, id) end
  end
end

-- The chain of namespaces without those that are empty now.
if emptied then
  local above = nil
  local all = namespaces(life)
  life.last_ns = '-'
  for _, ns in ipairs(all) do
    local h = heads[ns] or head(life, ns)
    if h[2] then
      if above then above[3] = ns else life.last_ns = ns end
      heads[ns], above = h, h
    else
      drop(':head' .. ns)
    end
  end
  if above then above[3] = '-' end
  if life.last_ns == '-' then
    local whose = lasting_owner_of(K)
    redis.call('UNLINK', K)
    return 'deleted ' .. int(now) .. whose
  end
end
for ns, h in pairs(heads) do
  if h[2] then set(':head' .. ns, table.concat(h, ' ')) end
end
life.revision = life.revision + 1
life.updated = now
if ARGV[7] ~= '' then life.incarnation = ARGV[7] end
if ARGV[3] ~= '' then set('state', ARGV[3]) end

-- Write.
for at = 1, #fields, MOST do
  local gone = redis.call('HDEL', K, unpack(fields, at, math.min(at + MOST - 1, #fields)))
  if life.count then life.count = life.count - gone end
end
set(':meta', meta(life))
for at = 1, #out, MOST do
  redis.call('HSET', K, unpack(out, at, math.min(at + MOST - 1, #out)))
end
return 'done ' .. life_text(K, life, now) .. ' 0'
