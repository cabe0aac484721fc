-- commit: write a checkpoint, pending writes and the header of a session, all or nothing.
--
-- KEYS  1 the session
-- ARGV  1 token   2 idle ms or -   3 max age ms or -   4 refresh
--       5 '1' if the session must be new   6 incarnation or ''   7 revision or ''
--       8 the witnesses' fields, or ''   9 created ms for a session made now, or ''
--      10 header or ''
--      11 '1' if a record follows in 12-17:
--      12 /namespace   13 id   14 parent's id or ''   15 spans or -   16 body   17 bytes to append
--      18 '1' if pending writes follow in 19-22 and from 23 on:
--      19 /namespace   20 id   21 spans or -   22 bytes for the log, '' if none
--      23 … pairs of key and body of the writes that are replaced
-- Reply {'done', life, base} | {outcome, now, life or ''} with one of the outcomes gone, conflict,
--       stale, exists, expired | {'foreign'} | {'version', v}
local RECENT = 16 -- tokens kept: more than are on their way at once, for one session
local token, idle, max_age, refresh = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local with_record, with_writes = ARGV[11] == '1', ARGV[18] == '1'
local now = now_ms()
local life, refusal = open(K)
if refusal then return refusal end

-- A repeated commit answers as the first did.
local old, recent = nil, ''
if life then
  local known = life.incarnation == token
  if with_record then
    old = record(ARGV[12], ARGV[13])
    known = known or old and old[1] == token
  else
    recent = redis.call('HGET', K, ':done') or ''
    known = known or string.find(' ' .. recent .. ' ', ' ' .. token .. ' ', 1, true)
  end
  if known then
    local base = old and old[1] == token and old[2] or '0' -- the first commit of all starts at 0
    return {'done', life_text(K, life, now), base}
  end
end

-- Conditions.
if life and ARGV[5] == '1' then return refused('exists', life, now) end
if not life and ARGV[6] .. ARGV[7] .. ARGV[8] ~= '' then return refused('gone', life, now) end
if ARGV[6] ~= '' and life.incarnation ~= ARGV[6] then return refused('gone', life, now) end
if ARGV[7] ~= '' and life.revision ~= tonumber(ARGV[7]) then return refused('conflict', life, now) end
for _, field in ipairs(words(ARGV[8])) do
  if redis.call('HEXISTS', K, field) == 0 then return refused('stale', life, now) end
end
local fresh = not life
local there = life or {
  incarnation = token, created = ARGV[9] ~= '' and tonumber(ARGV[9]) or now, updated = now,
  override = '-', revision = 0, arena = 0, pinned = false, last_ns = '-',
}
local renew = fresh or refresh ~= 'never'
local ends = deadline(there, now, idle, max_age)
if renew and ends and ends <= now then return refused('expired', life, now) end
life = there

-- Everything is worked out before anything is written: `out` holds fields and values.
local out = {}
local function set(field, value)
  out[#out + 1] = field
  out[#out + 1] = value
end

-- Add bytes to the arena: the last segment is filled up, others follow.
local function append(bytes)
  if #bytes == 0 then return end
  local n = math.floor(life.arena / SEGMENT)
  local fill = life.arena - n * SEGMENT
  if fill > 0 then
    local last = redis.call('HGET', K, ':a' .. int(n))
    if not last or #last ~= fill then damaged(':a' .. int(n)) end
    bytes = last .. bytes
  end
  for at = 1, #bytes, SEGMENT do
    set(':a' .. int(n), string.sub(bytes, at, at + SEGMENT - 1))
    n = n + 1
  end
  life.arena = life.arena - fill + #bytes
end

-- Put a new id into its namespace's chain; the next lower id and the highest one.
local function enter(ns, id, top)
  if not top then return NO_ID, id end
  if below(top, id) then return top, id end
  local above = top
  while true do
    local w, body = chained(ns, above)
    local lower = w[4]
    if lower == NO_ID or below(lower, id) then
      w[4] = id
      set(record_field(ns, above), table.concat(w, ' ') .. '\n' .. body)
      return lower, top
    end
    above = lower
  end
end

local function write_record(ns, id, parent, spans, body, bytes)
  local h = head(life, ns)
  local lead, top, before = nil, nil, life.last_ns
  if h then lead, top, before = h[1], h[2], h[3] else life.last_ns = ns end
  if old and not h then damaged(':head' .. ns) end
  local lower = old and old[4]
  if not old then lower, top = enter(ns, id, top) end
  local base = life.arena
  append(bytes)
  local first = table.concat({token, int(base), #bytes, lower, spans}, ' ')
  set(record_field(ns, id), first .. '\n' .. body)
  if not lead or lead == parent or below(lead, id) then lead = id end
  set(':head' .. ns, lead .. ' ' .. top .. ' ' .. before)
  return base, lead == id
end

local function add(list, item)
  if item == '-' or string.find(',' .. list .. ',', ',' .. item .. ',', 1, true) then return list end
  return list == '-' and item or list .. ',' .. item
end

local function write_log(ns, id, spans, bytes)
  local field = log_field(ns, id)
  local w, first, value = line(field, 4)
  if not w then w, first = {'0', '-', '-', '0'}, '' end
  for at = 23, #ARGV, 2 do
    w[2] = add(w[2], ARGV[at])
    set(':s' .. ns .. '/' .. id .. '/' .. ARGV[at], ARGV[at + 1])
  end
  w[3] = add(w[3], spans)
  w[4] = int(number(field, w[4]) + #bytes)
  if #bytes > 0 then
    local n, last = number(field, w[1]), first
    if n > 0 then last = redis.call('HGET', K, field .. '/' .. int(n)) end
    if not last then damaged(field .. '/' .. int(n)) end
    if (#last > 0 or n == 0) and #last + #bytes > SEGMENT then
      n = n + 1
      w[1] = int(n)
      last = ''
    end
    last = last .. bytes
    if n > 0 then set(field .. '/' .. int(n), last) else first = last end
  end
  local changed = table.concat(w, ' ') .. '\n' .. first
  if changed ~= value then set(field, changed) end
end

local base, leads = 0, not with_record
if with_record then
  base, leads = write_record(ARGV[12], ARGV[13], ARGV[14], ARGV[15], ARGV[16], ARGV[17])
elseif not fresh then
  local tokens = words(token .. ' ' .. recent)
  set(':done', table.concat(tokens, ' ', 1, math.min(#tokens, RECENT)))
end
if with_writes then write_log(ARGV[19], ARGV[20], ARGV[21], ARGV[22]) end
if leads and ARGV[10] ~= '' then set('state', ARGV[10]) end
life.updated = now
life.revision = life.revision + 1
set(':meta', meta(life))

-- Write.
for at = 1, #out, 2000 do
  redis.call('HSET', K, unpack(out, at, math.min(at + 1999, #out)))
end
if renew then expire(K, ends) end
return {'done', life_text(K, life, now), int(base)}
