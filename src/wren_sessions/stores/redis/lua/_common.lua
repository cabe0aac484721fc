-- Shared by all scripts: it is put in front of each of them. Behind it come _ends, _ids, _lives,
-- _records, _logs and _walks, except for commit, which has what it needs of them put in where it needs it.
--
-- KEYS[1]  the session's hash. Its fields are listed in keys.py.
-- :meta    ten words: format version, incarnation, created ms, updated ms, idle timeout of its own
--          (ms | none | - to follow the store), revision, arena bytes, pinned (1 | 0), the namespace
--          made last (/<ns> | -), how many fields there are besides `state`
-- :head/x  four words: the latest checkpoint, the highest id, the namespace made before (or -), what
--          the latest checkpoint's log holds at least
-- record   one line of six words, then the body: token, base, own bytes, the next lower id (or :),
--          other spans of the arena as offset+length,… (or -), what the log of the next lower id
--          holds at least
-- log      of one commit, one line of four words, then its bytes: 0, keys of replaceable writes as
--          k,k (or -), spans (or -), how many bytes. (Other numbers than 0: below, `log_of`.)
--          Of several commits, one line of seven words: the last part of the bytes (or -), the latest
--          keys, the latest spans, bytes in all parts, keys in all, lists of earlier keys, lists of
--          earlier spans. What each commit writes again is this line and, where both are short, the
--          last part. Parts are <log>/0, /1, …; earlier keys <log>/k1, …; earlier spans <log>/s1, …
-- :done    the tokens of the latest commits that wrote no record, the last one first
--
-- What a log holds is its bytes and its keys of replaceable writes, counted together: it only grows. So
-- a log that holds less than is said elsewhere has lost something (- where it is not known). And what
-- is not there never was only if all fields are there: `absent` in _walks.lua. Sessions of version 1 of the
-- format, which stay so, have no last word in any of the three, and nothing tells.
--
-- An idle timeout among the arguments is ms, - for none, or !ms (below, `ends_of`).
--
-- A reply is one text, or a list that starts with one; the text starts with a status word. A life
-- in it is seven words: incarnation, created, updated, now, deadline (or -), pinned, revision. Times are
-- milliseconds since 1970. What is not as it was written ends a script, before it writes, with an
-- error that says DAMAGED and the field. No loop trusts a number that is stored: each is of at most
-- 15 digits, so that it is exact, and what counts fields is held against those that are there.
--
-- A script runs while all others wait, so what is called often is made cheap: fields are asked for
-- together, texts are taken apart by one match, and nothing is asked for twice. To define a function
-- costs as much as to call it, and to make a string as much as it is long.
--
-- Servers run Lua 5.1, or 5.4 with its whole numbers: a quotient is written out as 1 by the one and as
-- 1.0 by the other, so `int` makes text of what was divided. And some take at most 3,900 arguments, in
-- a script and to it: what has no bound is one text, or is sent in parts.
local MOST = 3800 -- a multiple of two: of fields and their values
local SEGMENT = 2032
local NO_ID = ':' -- an id holds no colon
local K = KEYS[1]
local unpack = table.unpack or unpack -- Lua 5.1 has the one, later ones have the other

-- A whole number as text. ('%.0f' takes ten times as long; '%d' alone ends at 2^31 on 32 bits.)
local function int(n)
  if n < 0 or n >= 1e15 then return string.format('%.0f', n) end
  if n < 1e6 then return string.format('%d', n) end
  return string.format('%d%06d', math.floor(n / 1e6), n % 1e6)
end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function damaged(field) error('DAMAGED ' .. field, 0) end

-- A count, an offset or a length.
local function number(field, word)
  if not string.find(word, '^%d+$') or #word > 15 then damaged(field) end
  return tonumber(word)
end

local META = '^2 (%S+) (%-?%d+) (%-?%d+) (%S+) (%d+) (%d+) ([01]) (%S+) (%d+)$'

-- What the field :meta says, `raw`: its nine words behind the version, all texts (eight of version 1);
-- nil and nil if the session is not there; nil and a reply if it cannot be used.
local function life_words(key, raw)
  if not raw then
    if redis.call('EXISTS', key) == 0 then return nil, nil end
    for _, field in ipairs({':head/', ':done', ':a0'}) do
      if redis.call('HEXISTS', key, field) == 1 then damaged(':meta') end
    end
    return nil, 'foreign'
  end
  local incarnation, created, updated, override, revision, arena, pinned, last_ns, count =
    string.match(raw, META)
  if not incarnation then
    incarnation, created, updated, override, revision, arena, pinned, last_ns =
      string.match(raw, '^1 (%S+) (%-?%d+) (%-?%d+) (%S+) (%d+) (%d+) ([01]) (%S+)$')
  end
  if not incarnation then
    local version = string.match(raw, '^%S*')
    if version ~= '1' and version ~= '2' then return nil, 'version ' .. version end
    damaged(':meta')
  end
  if #created > 15 or #updated > 15 or #revision > 15 or #arena > 15 or count and #count > 15 then
    damaged(':meta')
  end
  if override ~= '-' and override ~= 'none' then number(':meta', override) end
  return incarnation, created, updated, override, revision, arena, pinned, last_ns, count
end

-- When a life ends if it is used at `used`; nil for never. `override`, `idle` and `max_age` are texts.
-- An idle timeout with a ! in front is that of a session which is being made: it holds whatever the
-- session is to have itself, so that what is never finished goes away.
local function ends_of(created, override, pinned, used, idle, max_age)
  if string.byte(idle) == 33 then
    idle = string.sub(idle, 2)
    if pinned then return used + idle end
  else
    if pinned then return nil end
    if override ~= '-' then idle = override end
  end
  local ends = nil
  if idle ~= '-' and idle ~= 'none' then ends = used + idle end
  if max_age ~= '-' then
    local oldest = created + max_age
    if not ends or oldest < ends then ends = oldest end
  end
  return ends
end

local function record_field(ns, id)
  if ns == '/' then return id end
  return string.sub(ns, 2) .. '/' .. id
end

local function log_field(ns, id) return ':w' .. ns .. '/' .. id end

local function special_prefix(ns, id) return ':s' .. ns .. '/' .. id .. '/' end
