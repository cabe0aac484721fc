-- Shared by all scripts: it is put in front of each of them.
--
-- KEYS[1]  the session's hash. Its fields are listed in keys.py.
-- :meta    nine words: format version, incarnation, created ms, updated ms, idle timeout of its own
--          (ms | none | - to follow the store), revision, arena bytes, pinned (1 | 0), the namespace
--          made last (/<ns> | -)
-- :head/x  three words: the latest checkpoint, the highest id, the namespace made before (or -)
-- record   one line of five words, then the body: token, base, own bytes, the next lower id (or -),
--          other spans of the arena as offset+length,… (or -)
-- log      one line of three words, then bytes: further parts, keys of replaceable writes as k,k
--          (or -), spans (or -)
--
-- Every reply starts with a status word. A life in a reply is one text: incarnation, created,
-- updated, now, deadline (or -), pinned, revision. Times are milliseconds since 1970.
local SEGMENT = 2032
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

-- The session's life; nil and nil if it is not there; nil and a reply if it cannot be used.
local function open(key)
  local raw = redis.call('HGET', key, ':meta')
  if not raw then
    if redis.call('EXISTS', key) == 1 then return nil, {'foreign'} end
    return nil, nil
  end
  local w = words(raw)
  if w[1] ~= '1' then return nil, {'version', w[1]} end
  if #w ~= 9 then return nil, {'damaged', ':meta'} end
  return {
    incarnation = w[2], created = tonumber(w[3]), updated = tonumber(w[4]), override = w[5],
    revision = tonumber(w[6]), arena = tonumber(w[7]), pinned = w[8] == '1', last_ns = w[9],
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

local function life_text(key, life, now)
  local left = redis.call('PTTL', key)
  return table.concat({
    life.incarnation, int(life.created), int(life.updated), int(now),
    left < 0 and '-' or int(now + left), life.pinned and '1' or '0', int(life.revision),
  }, ' ')
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

local function record_field(ns, id)
  if ns == '/' then return id end
  return string.sub(ns, 2) .. '/' .. id
end

-- A record's five words and its body; nil if it is not there.
local function record(ns, id)
  local value = redis.call('HGET', K, record_field(ns, id))
  if not value then return nil end
  local cut = string.find(value, '\n', 1, true)
  return words(string.sub(value, 1, cut - 1)), string.sub(value, cut + 1), value
end

local function log_field(ns, id) return ':w' .. ns .. '/' .. id end

-- A log's three words and the bytes of its first part; nil if there is none.
local function log(ns, id)
  local value = redis.call('HGET', K, log_field(ns, id))
  if not value then return nil end
  local cut = string.find(value, '\n', 1, true)
  return words(string.sub(value, 1, cut - 1)), string.sub(value, cut + 1), value
end

-- A checkpoint's pending writes as a reply: all parts of the log, then (key, body) pairs.
local function pending(ns, id)
  local w, _, value = log(ns, id)
  if not w then return {}, {}, '-' end
  local parts, special = {value}, {}
  for n = 1, tonumber(w[1]) do
    parts[n + 1] = redis.call('HGET', K, log_field(ns, id) .. '/' .. n)
  end
  if w[2] ~= '-' then
    for key in string.gmatch(w[2], '[^,]+') do
      special[#special + 1] = key
      special[#special + 1] = redis.call('HGET', K, ':s' .. ns .. '/' .. id .. '/' .. key)
    end
  end
  return parts, special, w[3]
end
