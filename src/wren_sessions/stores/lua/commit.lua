-- commit: write a checkpoint, pending writes and the header of a session, all or nothing.
--
-- KEYS  1 the session
-- ARGV  1 token   2 idle ms or -   3 max age ms or -   4 refresh
--       5 '1' if the session must be new   6 incarnation or ''   7 the witnesses' fields, or ''
--       8 created ms for a session made now, or ''   9 header or ''
--      10 '1' if a record follows in 11-16:
--      11 /namespace   12 id   13 parent's id or ''   14 spans or -   15 body   16 bytes to append
--      17 '1' if pending writes follow in 18-21 and from 22 on:
--      18 /namespace   19 id   20 spans or -   21 bytes for the log, '' if none
--      22 … pairs of key and body of the writes that are replaced
-- Reply {'done', life, base} | {'gone', now} | {'stale', now} | {'exists', now, life}
--       | {'expired', now} | {'foreign'} | {'version', v} | {'damaged', field}
local token, idle, max_age, refresh = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = now_ms()
local life, refusal = open(K)
if refusal then return refusal end

-- A repeated commit answers as the first did.
local old = nil
if life then
  if ARGV[10] == '1' then old = record(ARGV[11], ARGV[12]) end
  if old and old[1] == token then return {'done', life_text(K, life, now), old[2]} end
  if ARGV[5] == '1' and life.incarnation == token then
    return {'done', life_text(K, life, now), '0'}
  end
end

-- Conditions.
if life and ARGV[5] == '1' then return {'exists', int(now), life_text(K, life, now)} end
if ARGV[6] ~= '' and (not life or life.incarnation ~= ARGV[6]) then return {'gone', int(now)} end
if ARGV[7] ~= '' then
  if not life then return {'gone', int(now)} end
  for _, field in ipairs(words(ARGV[7])) do
    if redis.call('HEXISTS', K, field) == 0 then return {'stale', int(now)} end
  end
end
local fresh = not life
if fresh then
  local created = ARGV[8] ~= '' and tonumber(ARGV[8]) or now
  life = {
    incarnation = token, created = created, updated = now, override = '-', revision = 0,
    arena = 0, pinned = false, last_ns = '-',
  }
end
local renew = fresh or refresh ~= 'never'
local ends = deadline(life, now, idle, max_age)
if renew and ends and ends <= now then return {'expired', int(now)} end

-- Everything is worked out before anything is written: `out` holds fields and values.
local out = {}
local function set(field, value)
  out[#out + 1] = field
  out[#out + 1] = value
end

local function append(bytes)
  local number = math.floor(life.arena / SEGMENT)
  local fill = life.arena - number * SEGMENT
  local data = bytes
  if fill > 0 then
    local last = redis.call('HGET', K, ':a' .. int(number))
    if not last or #last ~= fill then return ':a' .. int(number) end
    data = last .. bytes
  end
  for at = 1, #data, SEGMENT do
    set(':a' .. int(number), string.sub(data, at, at + SEGMENT - 1))
    number = number + 1
  end
  life.arena = life.arena + #bytes
end

-- The next lower id of a new record, and where it goes in its namespace's chain of ids.
local function enter(ns, id, top)
  if not top then return '-', id end
  if below(top, id) then return top, id end
  local above = top
  while true do
    local w, body = record(ns, above)
    if not w then return nil, record_field(ns, above) end
    if w[4] == '-' or below(w[4], id) then
      local lower = w[4]
      w[4] = id
      set(record_field(ns, above), table.concat(w, ' ') .. '\n' .. body)
      return lower, top
    end
    above = w[4]
  end
end

local base = 0
local state = ARGV[9] ~= ''
if ARGV[10] == '1' then
  local ns, id, parent = ARGV[11], ARGV[12], ARGV[13]
  local heads = redis.call('HGET', K, ':head' .. ns)
  local h = heads and words(heads) or {}
  local head, top, before = h[1], h[2], h[3]
  if not before then
    before = life.last_ns
    life.last_ns = ns
  end
  local lower = old and old[4]
  if not lower then
    lower, top = enter(ns, id, top)
    if not lower then return {'damaged', top} end
  end
  base = life.arena
  local bytes = ARGV[16]
  if #bytes > 0 then
    local damaged = append(bytes)
    if damaged then return {'damaged', damaged} end
  end
  local line = table.concat({token, int(base), #bytes, lower, ARGV[14]}, ' ')
  set(record_field(ns, id), line .. '\n' .. ARGV[15])
  if not head or head == parent or below(head, id) then head = id end
  state = state and head == id
  set(':head' .. ns, head .. ' ' .. top .. ' ' .. before)
end

if ARGV[17] == '1' then
  local ns, id, spans, bytes = ARGV[18], ARGV[19], ARGV[20], ARGV[21]
  local field = log_field(ns, id)
  local w, first, value = log(ns, id)
  if not w then w, first = {'0', '-', '-'}, '' end
  for at = 22, #ARGV, 2 do
    local name = ':s' .. ns .. '/' .. id .. '/' .. ARGV[at]
    if redis.call('HEXISTS', K, name) == 0 then
      w[2] = w[2] == '-' and ARGV[at] or w[2] .. ',' .. ARGV[at]
    end
    set(name, ARGV[at + 1])
  end
  if spans ~= '-' and not string.find(w[3], spans, 1, true) then
    w[3] = w[3] == '-' and spans or w[3] .. ',' .. spans
  end
  local number = tonumber(w[1])
  local last = number == 0 and first or redis.call('HGET', K, field .. '/' .. number)
  if not last then return {'damaged', field .. '/' .. number} end
  if #bytes > 0 and not string.find(last, token, 1, true) then
    if #last > 0 and #last + #bytes > SEGMENT then
      number = number + 1
      w[1] = int(number)
      last = ''
    end
    last = last .. bytes
    if number > 0 then set(field .. '/' .. number, last) else first = last end
  end
  local changed = table.concat(w, ' ') .. '\n' .. first
  if changed ~= value then set(field, changed) end
end

-- Write.
if state then set('state', ARGV[9]) end
life.updated = now
life.revision = life.revision + 1
set(':meta', meta(life))
for at = 1, #out, 2000 do
  redis.call('HSET', K, unpack(out, at, math.min(at + 1999, #out)))
end
if renew then expire(K, ends) end
return {'done', life_text(K, life, now), int(base)}
