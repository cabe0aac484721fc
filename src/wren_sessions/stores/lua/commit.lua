-- commit: write a checkpoint, pending writes and the header of a session, all or nothing.
--
-- KEYS  1 the session
-- ARGV  1 ten words: token, idle ms or -, max age ms or -, refresh, 1 if the session must be new or 0,
--         incarnation or :, revision or :, created ms for a session made now or :,
--         1 if a record follows or 0, 1 if pending writes follow or 0
--       2 the witnesses' fields, or ''   3 header or ''
--         of a record:
--       4 four words: /namespace, id, parent's id or :, spans or -   5 body   6 bytes to append
--         of pending writes, from 4 or 7 on:
--         three words: /namespace, id, spans or -; bytes for the log, '' if none;
--         pairs of key and body of the writes that are replaced
-- Reply 'done <life> <base>' | '<outcome> <now> [<life>]' with one of the outcomes gone, conflict,
--       stale, exists, expired | 'foreign' | 'version <v>'
local RECENT = 272 -- bytes of tokens kept: 16 of 16 characters, more than are on their way at once
local LIST = 256 -- keys and spans in a log's line: what every commit to it writes again
local NONE = ':'
local token, idle, max_age, refresh, new, incarnation, revision, created, with_record, with_writes =
  string.match(ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
with_record, with_writes = with_record == '1', with_writes == '1'
local now = now_ms()

-- All that is nearly always needed, in one go.
local fields = {':meta'}
local ns, id, parent, spans, writes_ns, writes_id, writes_spans
local writes_at = 4
if with_record then
  ns, id, parent, spans = string.match(ARGV[4], '^(%S+) (%S+) (%S+) (%S+)$')
  fields[2], fields[3] = record_field(ns, id), ':head' .. ns
  writes_at = 7
else
  fields[2] = ':done'
end
if with_writes then
  writes_ns, writes_id, writes_spans = string.match(ARGV[writes_at], '^(%S+) (%S+) (%S+)$')
  fields[#fields + 1] = log_field(writes_ns, writes_id)
end
local there = redis.call('HMGET', K, unpack(fields))
local life, refusal = life_of(K, there[1])
if refusal then return refusal end

-- A repeated commit answers as the first did.
local old, recent = nil, ''
if life then
  local known = life.incarnation == token
  if with_record then
    old = record_of(ns, id, there[2])
    known = known or old and old[1] == token
  else
    recent = there[2] or ''
    known = known or string.find(' ' .. recent .. ' ', ' ' .. token .. ' ', 1, true)
  end
  if known then
    local base = old and old[1] == token and old[2] or '0' -- the first commit of all starts at 0
    return 'done ' .. life_text(K, life, now) .. ' ' .. base
  end
end

-- Conditions.
if life then
  if new == '1' then return refused('exists', life, now) end
  if incarnation ~= NONE and life.incarnation ~= incarnation then
    return refused('gone', life, now)
  end
  if revision ~= NONE and life.revision ~= tonumber(revision) then
    return refused('conflict', life, now)
  end
elseif incarnation ~= NONE or revision ~= NONE or ARGV[2] ~= '' then
  return refused('gone', life, now)
end
for field in string.gmatch(ARGV[2], '%S+') do
  if redis.call('HEXISTS', K, field) == 0 then return refused('stale', life, now) end
end
local fresh = not life
local used = life or {
  incarnation = token, created = created ~= NONE and tonumber(created) or now, updated = now,
  override = '-', revision = 0, arena = 0, pinned = false, last_ns = '-',
}
local renew = fresh or refresh ~= 'never'
local ends = deadline(used, now, idle, max_age)
if renew and ends and ends <= now then return refused('expired', life, now) end
life = used

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
  local fill, at = life.arena - n * SEGMENT, 1
  life.arena = life.arena + #bytes
  if fill > 0 then
    local field = ':a' .. n
    local last = redis.call('HGET', K, field)
    if not last or #last ~= fill then damaged(field) end
    at = SEGMENT - fill + 1
    set(field, last .. (at > #bytes and bytes or string.sub(bytes, 1, at - 1)))
    n = n + 1
  end
  while at <= #bytes do
    set(':a' .. n, string.sub(bytes, at, at + SEGMENT - 1))
    n, at = n + 1, at + SEGMENT
  end
end

-- Put a new id into its namespace's chain; the next lower id and the highest one.
local function enter(top)
  if not top then return NO_ID, id end
  if below(top, id) then return top, id end
  local above = top
  while true do
    local w, at, value = chained(ns, above)
    local lower = w[4]
    if lower == NO_ID or below(lower, id) then
      w[4] = id
      set(record_field(ns, above), rewritten(w, at, value))
      return lower, top
    end
    above = lower
  end
end

local function write_record(body, bytes)
  local h = head_of(life, ns, there[3])
  local lead, top, before = nil, nil, life.last_ns
  if h then lead, top, before = h[1], h[2], h[3] else life.last_ns = ns end
  if old and not h then damaged(':head' .. ns) end
  local lower = old and old[4]
  if not old then lower, top = enter(top) end
  local base = life.arena
  append(bytes)
  local first = token .. ' ' .. int(base) .. ' ' .. #bytes .. ' ' .. lower .. ' ' .. spans
  set(fields[2], first .. '\n' .. body)
  if not lead or lead == parent or below(lead, id) then lead = id end
  set(':head' .. ns, lead .. ' ' .. top .. ' ' .. before)
  return base, lead == id
end

-- Items for a list of a log: what stands in its line, and how many lists came before. A list that
-- would get long goes to a field of its own, which is never written again.
local function add(log, kind, latest, earlier, items)
  if items == '' or string.find(',' .. latest .. ',', ',' .. items .. ',', 1, true) then
    return latest, earlier
  end
  if latest == '-' then return items, earlier end
  if #latest + #items < LIST then return latest .. ',' .. items, earlier end
  set(log.field .. '/' .. kind .. earlier + 1, latest)
  return items, earlier + 1
end

-- Turn a log into one of several commits: its bytes get a field of their own.
local function parted(log)
  if log.last > 0 or #log.first > 0 then set(log.field .. '/0', log.first) else log.last = -1 end
end

-- Add bytes to a log: to its last part, if both are short.
local function append_to_log(log, bytes)
  if #bytes == 0 then return end
  log.bytes = log.bytes + #bytes
  local last = log.field .. '/' .. log.last
  if log.last == 0 and log.first then
    if #log.first + #bytes <= SHORT then
      out[#out] = log.first .. bytes -- where `parted` has put it
      return
    end
  elseif log.last >= 0 then
    local fill = redis.call('HSTRLEN', K, last)
    if fill == 0 then damaged(last) end
    if fill + #bytes <= SHORT then
      set(last, redis.call('HGET', K, last) .. bytes)
      return
    end
  end
  log.last = log.last + 1
  set(log.field .. '/' .. log.last, bytes)
end

local function write_log(value)
  local field, bytes, keys = log_field(writes_ns, writes_id), ARGV[writes_at + 1], {}
  local log = log_of(field, value)
  local prefix = special_prefix(writes_ns, writes_id)
  for at = writes_at + 2, #ARGV, 2 do
    local name = prefix .. ARGV[at]
    if not log or redis.call('HEXISTS', K, name) == 0 then keys[#keys + 1] = ARGV[at] end
    set(name, ARGV[at + 1])
  end
  local added = table.concat(keys, ',')
  if not log and #bytes <= SEGMENT then
    if added == '' then added = '-' end
    set(field, '0 ' .. added .. ' ' .. writes_spans .. ' ' .. #bytes .. '\n' .. bytes)
    return
  end
  log = log or {
    field = field, last = -1, keys = '-', spans = '-', bytes = 0, count = 0, key_lists = 0,
    span_lists = 0,
  }
  local wanted = writes_spans == '-' and '' or writes_spans
  local news = #bytes > 0 or added ~= ''
    or wanted ~= '' and not string.find(',' .. log.spans .. ',', ',' .. wanted .. ',', 1, true)
  if not news then return end
  if log.first then parted(log) end
  append_to_log(log, bytes)
  log.keys, log.key_lists = add(log, 'k', log.keys, log.key_lists, added)
  log.spans, log.span_lists = add(log, 's', log.spans, log.span_lists, wanted)
  set(field, table.concat({
    log.last < 0 and '-' or log.last, log.keys, log.spans, int(log.bytes), log.count + #keys,
    log.key_lists, log.span_lists,
  }, ' ') .. '\n')
end

local base, leads = 0, not with_record
if with_record then
  base, leads = write_record(ARGV[5], ARGV[6])
elseif not fresh then
  local tokens = token
  if recent ~= '' then tokens = token .. ' ' .. recent end
  if #tokens > RECENT then tokens = string.match(tokens, '^(.*) ') or token end -- the oldest goes
  set(':done', tokens)
end
if with_writes then write_log(there[#fields]) end
if leads and ARGV[3] ~= '' then set('state', ARGV[3]) end
life.updated = now
life.revision = life.revision + 1
set(':meta', meta(life))

-- Write.
for at = 1, #out, 2000 do
  redis.call('HSET', K, unpack(out, at, math.min(at + 1999, #out)))
end
if renew then expire(K, ends) end
local known = nil
if renew then known = ends or false end
return 'done ' .. life_text(K, life, now, known) .. ' ' .. int(base)
