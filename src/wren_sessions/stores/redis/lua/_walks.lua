-- What all scripts but commit share: going through lists of fields, namespaces and pending writes.

-- Whose a session is, as a reply ends: a space and the owner or -.
local function owner_of(key)
  return ' ' .. string.match(redis.call('HGET', key, ':about') or '-', '^%S+')
end

-- The same of a session without an end, and of others -: the set of its owner's sessions has no end either,
-- until it is told that the session is gone.
local function lasting_owner_of(key)
  if redis.call('PTTL', key) ~= -1 or redis.call('TYPE', key).ok ~= 'hash' then return ' -' end
  return owner_of(key)
end

local function open(key) return life_of(key, redis.call('HGET', key, ':meta')) end

local function meta(life)
  return (life.count and '2 ' or '1 ') .. life.incarnation .. ' ' .. int(life.created) .. ' ' .. int(life.updated) .. ' '
    .. life.override .. ' ' .. int(life.revision) .. ' ' .. int(life.arena)
    .. (life.pinned and ' 1 ' or ' 0 ') .. life.last_ns .. (life.count and ' ' .. int(life.count) or '')
end

-- Whether no field is missing: `count` is how many there are to be, nil where it is not known.
local function whole(count)
  return not count or redis.call('HLEN', K) - redis.call('HEXISTS', K, 'state') == count
end

-- Make sure that a field which is not there never was: no other is missing either.
local function absent(life, field)
  if not whole(life.count) then damaged(field) end
end

-- When a life ends if it is used at `used`; nil for never. `idle` and `max_age` are ms or '-'.
local function deadline(life, used, idle, max_age)
  return ends_of(life.created, life.override, life.pinned, used, idle, max_age)
end

-- Fields that must all be there, in their order; `keep` is a list to add them to.
local function fetch(names, keep)
  keep = keep or {}
  for at = 1, #names, MOST do
    local last = math.min(at + MOST - 1, #names)
    local some = redis.call('HMGET', K, unpack(names, at, last))
    for i = 1, last - at + 1 do
      if not some[i] then damaged(names[at + i - 1]) end
      keep[#keep + 1] = some[i]
    end
  end
  return keep
end

-- A namespace's words as a list, or nil.
local function head_of(life, ns, value)
  local latest, highest, before, least = head_words(life.last_ns, ns, value)
  return latest and {latest, highest, before, least or life.count and '-' or nil}
end

local function head(life, ns) return head_of(life, ns, redis.call('HGET', K, ':head' .. ns)) end

-- A session's namespaces, the one made last first.
local function namespaces(life)
  local found, seen, ns = {}, {}, life.last_ns
  while ns ~= '-' do
    local w = head(life, ns)
    if not w or seen[ns] then damaged(':head' .. ns) end
    seen[ns] = true
    found[#found + 1] = ns
    ns = w[3]
  end
  return found
end

-- Make sure that a namespace without a head never had one. In a session of version 1 only the chain of
-- namespaces tells, which is gone along for the root.
local function headless(life, ns)
  absent(life, ':head' .. ns)
  if not life.count and ns == '/' then namespaces(life) end
end

-- What a checkpoint's log holds at least: as the namespace's words say, or the line of the record above
-- it, which is looked for only where a field is missing. Nil where there is nothing to go by.
local function least_of(life, ns, id, h)
  if not h then headless(life, ns) return nil end
  if id == h[1] then return tonumber(h[4]) end
  if whole(life.count) then return nil end
  local above = h[2]
  while above ~= NO_ID and above ~= id do
    local w = chained(ns, above)
    if w[4] == id then return tonumber(w[6]) or 1 end
    above = w[4]
  end
  return 1
end

-- The fields of a log besides its own.
local function log_parts(log, visit)
  for n = log.first and 1 or 0, log.last do visit(log.field .. '/' .. n) end
end

-- The lists of a log, the earlier ones from their fields <log>/<kind>1, …
local function log_lists(log, kind, earlier, latest)
  local names = {}
  for n = 1, earlier do names[n] = log.field .. '/' .. kind .. n end
  local lists = fetch(names)
  lists[#lists + 1] = latest
  return lists
end

-- The keys of a log's replaceable writes, in the order they came.
local function special_keys(log)
  local keys = {}
  for _, list in ipairs(log_lists(log, 'k', log.key_lists, log.keys)) do
    each(list, function(key) keys[#keys + 1] = key end)
  end
  if #keys ~= log.count then damaged(log.field) end
  return keys
end

-- A checkpoint's pending writes, from the value of its log's field, which holds at least so much (nil
-- for unknown). They are added to `reply`: the parts of the log's bytes, then pairs of key and body of the replaceable ones. Returns how many
-- parts there are, and the spans of the arena that the writes refer to.
local function pending(life, ns, id, value, least, reply)
  local field = log_field(ns, id)
  local log = log_of(field, value)
  if least and (log and log.bytes + log.count or 0) < least then damaged(field) end
  if not log then
    if not least then absent(life, field) end
    return 0, '-'
  end
  local before, names = #reply, {}
  if log.first then reply[before + 1] = log.first end
  log_parts(log, function(name) names[#names + 1] = name end)
  fetch(names, reply)
  local parts, bytes = #reply - before, 0
  for i = before + 1, #reply do bytes = bytes + #reply[i] end
  if bytes ~= log.bytes then damaged(field) end
  if log.count > 0 or log.keys ~= '-' then
    local keys, bodies = special_keys(log), {}
    for i, key in ipairs(keys) do bodies[i] = special_prefix(ns, id) .. key end
    for i, body in ipairs(fetch(bodies)) do
      reply[#reply + 1] = keys[i]
      reply[#reply + 1] = body
    end
  end
  return parts, table.concat(log_lists(log, 's', log.span_lists, log.spans), ',')
end
