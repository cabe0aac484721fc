-- Shared by all scripts: it is put in front of each of them.
--
-- KEYS[1]  the session's hash. Its fields are listed in keys.py.
-- :meta    nine words: format version, incarnation, created ms, updated ms, idle timeout of its own
--          (ms | none | - to follow the store), revision, arena bytes, pinned (1 | 0), the namespace
--          made last (/<ns> | -)
-- :head/x  three words: the latest checkpoint, the highest id, the namespace made before (or -)
-- record   one line of five words, then the body: token, base, own bytes, the next lower id (or :),
--          other spans of the arena as offset+length,… (or -)
-- log      one line of four words, then bytes: further parts, keys of replaceable writes as k,k
--          (or -), spans (or -), bytes in all parts
-- :done    the tokens of the latest commits that wrote no record, the last one first
--
-- Every reply starts with a status word. A life in a reply is one text: incarnation, created,
-- updated, now, deadline (or -), pinned, revision. Times are milliseconds since 1970. What is not
-- as it was written ends a script, before it writes, with an error that says DAMAGED and the field.
local SEGMENT = 2032
local NO_ID = ':' -- an id holds no colon
local K = KEYS[1]

local function int(n) return string.format('%.0f', n) end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function words(text)
  local found = {}
  for word in string.gmatch(text, '%S+') do found[#found + 1] = word end
  return found
end

local function damaged(field) error('DAMAGED ' .. field, 0) end

local function number(field, word)
  if not word or not string.find(word, '^-?%d+$') then damaged(field) end
  return tonumber(word)
end

-- The session's life; nil and nil if it is not there; nil and a reply if it cannot be used.
local function open(key)
  local raw = redis.call('HGET', key, ':meta')
  if not raw then
    if redis.call('EXISTS', key) == 1 then return nil, {'foreign'} end
    return nil, nil
  end
  local w = words(raw)
  if w[1] ~= '1' then return nil, {'version', w[1] or ''} end
  if #w ~= 9 then damaged(':meta') end
  if w[5] ~= '-' and w[5] ~= 'none' then number(':meta', w[5]) end
  return {
    incarnation = w[2], created = number(':meta', w[3]), updated = number(':meta', w[4]),
    override = w[5], revision = number(':meta', w[6]), arena = number(':meta', w[7]),
    pinned = w[8] == '1', last_ns = w[9],
  }
end

local function meta(life)
  return table.concat({
    '1', life.incarnation, int(life.created), int(life.updated), life.override,
    int(life.revision), int(life.arena), life.pinned and '1' or '0', life.last_ns,
  }, ' ')
end

-- When a life ends if it is used at `used`; nil for never. `idle` and `max_age` are ms or '-'.
local function deadline(life, used, idle, max_age)
  if life.pinned then return nil end
  if life.override ~= '-' then idle = life.override end
  local ends = nil
  if idle ~= '-' and idle ~= 'none' then ends = used + tonumber(idle) end
  if max_age ~= '-' then
    local oldest = life.created + tonumber(max_age)
    if not ends or oldest < ends then ends = oldest end
  end
  return ends
end

local function expire(key, ends)
  if ends then redis.call('PEXPIREAT', key, int(ends)) else redis.call('PERSIST', key) end
end

-- When the server will remove a key, to the millisecond; nil for never.
local function ends_at(key)
  local at = redis.pcall('PEXPIRETIME', key)
  if type(at) == 'number' then return at >= 0 and at or nil end
  while true do -- Redis 6.2 only tells how long it is, from a clock that may tick between two calls
    local before, left, after = now_ms(), redis.call('PTTL', key), now_ms()
    if left < 0 then return nil end
    if before == after then return after + left end
  end
end

local function life_text(key, life, now)
  local ends = ends_at(key)
  return table.concat({
    life.incarnation, int(life.created), int(life.updated), int(now),
    ends and int(ends) or '-', life.pinned and '1' or '0', int(life.revision),
  }, ' ')
end

-- The reply of what was not done, with the life of the session that is there, if any.
local function refused(outcome, life, now)
  return {outcome, int(now), life and life_text(K, life, now) or ''}
end

local function decoded(id)
  return (string.gsub(id, '%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Whether id a is below id b, as bytes. (Lua's own < follows the server's locale.)
local function below(a, b)
  a, b = decoded(a), decoded(b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- A field that is a line of `count` words and bytes behind it: words, bytes and all of it.
local function line(field, count)
  local value = redis.call('HGET', K, field)
  if not value then return nil end
  local cut = string.find(value, '\n', 1, true)
  local w = cut and words(string.sub(value, 1, cut - 1)) or {}
  if #w ~= count then damaged(field) end
  return w, string.sub(value, cut + 1), value
end

-- A namespace's three words; nil if it has no checkpoint.
local function head(life, ns)
  local field = ':head' .. ns
  local value = redis.call('HGET', K, field)
  if not value and life.last_ns == ns then damaged(field) end
  if not value then return nil end
  local w = words(value)
  if #w ~= 3 then damaged(field) end
  return w
end

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

local function record_field(ns, id)
  if ns == '/' then return id end
  return string.sub(ns, 2) .. '/' .. id
end

-- A record's five words, its body, and all of it; nil if it is not there.
local function record(ns, id)
  local field = record_field(ns, id)
  local w, body, value = line(field, 5)
  -- The chain of ids goes down, or a walk along it might not come to an end.
  if w and w[4] ~= NO_ID and not below(w[4], id) then damaged(field) end
  return w, body, value
end

-- The same, of a record that must be there.
local function chained(ns, id)
  local w, body, value = record(ns, id)
  if not w then damaged(record_field(ns, id)) end
  return w, body, value
end

local function log_field(ns, id) return ':w' .. ns .. '/' .. id end

-- A checkpoint's pending writes as a reply: all parts of the log, then (key, body) pairs; and the
-- spans of the arena that they refer to.
local function pending(ns, id)
  local field = log_field(ns, id)
  local w, _, value = line(field, 4)
  if not w then return {}, {}, '-' end
  local parts, special = {value}, {}
  for n = 1, number(field, w[1]) do
    local part = redis.call('HGET', K, field .. '/' .. n)
    if not part then damaged(field .. '/' .. n) end
    parts[n + 1] = part
  end
  if w[2] ~= '-' then
    for key in string.gmatch(w[2], '[^,]+') do
      local name = ':s' .. ns .. '/' .. id .. '/' .. key
      local body = redis.call('HGET', K, name)
      if not body then damaged(name) end
      special[#special + 1] = key
      special[#special + 1] = body
    end
  end
  return parts, special, w[3]
end
