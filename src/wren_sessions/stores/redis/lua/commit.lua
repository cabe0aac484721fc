-- commit: write a checkpoint, pending writes and the header of a session, all or nothing.
--
-- KEYS  1 the session   2 the sorted set of its owner's sessions, if it is to be kept up with
-- ARGV  1 seventeen words, then the witnesses' fields, or ^ for the record's parent alone:
--         token, whose session it is if it is nobody's or :, the turn's token or :, idle ms or -, max age ms or -, refresh,
--         1 if the session must be new, 2 if the record's parent must be the latest, or 0,
--         incarnation or :, revision or :, created ms for a session made now or :,
--         of a record: /namespace or - for none, id, parent's id or :, spans or -
--         of pending writes: /namespace or - for none, id, spans or -
--       2 header or ''
--         of a record:
--       3 body   4 bytes to append
--         of pending writes, from 3 or 5 on:
--         bytes for the log, '' if none; then of the writes that are replaced, if any:
--         pairs of key and length of the body as words; the bodies
-- Reply 'done <life> <base> [<owner>]' | '<outcome> <now> [<life>]' with one of the outcomes gone, conflict,
--       stale, exists, expired | 'held <now> <life> <who has the turn, or -> <since>'
--       | 'foreign' | 'version <v>'
--
-- The usual case is one straight line; what is seldom needed is defined where it is.
local RECENT = 272 -- bytes of tokens kept: 16 of 16 characters, more than are on their way at once
local LIST = 256 -- keys and spans in a log's line: what every commit to it writes again
local SHORT = 512 -- a log's last part is filled up to here: what is longer is not written twice
local NONE = ':'
local WORDS =
  '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$'
local token, owner, mine, idle, max_age, refresh, new, known_incarnation, known_revision, given,
  ns, id, parent, spans, writes_ns, writes_id, writes_spans, witnesses = string.match(ARGV[1], WORDS)
local with_record, with_writes = ns ~= '-', writes_ns ~= '-'
local now = now_ms()

-- All that is nearly always needed, in one go.
local fields = {':meta'}
if with_record then
  fields[2], fields[3], fields[4] = record_field(ns, id), ':head' .. ns, log_field(ns, id)
else
  fields[2] = ':done'
  if with_writes then fields[3] = ':head' .. writes_ns end
end
local same = with_record and writes_id == id and writes_ns == ns
if with_writes and not same then fields[#fields + 1] = log_field(writes_ns, writes_id) end
local asked = #fields
fields[asked + 1], fields[asked + 2] = ':turn', ':about'
local there = redis.call('HMGET', K, unpack(fields))
local turn, about = there[asked + 1], there[asked + 2]
fields[asked + 1], fields[asked + 2] = nil, nil
local incarnation, created, _, override, revision, arena, pinned, last_ns, count =
  life_words(K, there[1])
local fresh = not incarnation
if fresh and created then return created end -- the reply that it cannot be used

-- A repeated commit answers as the first did.
local old, recent, outcome = nil, '', nil
if not fresh then
  local known = incarnation == token
  if with_record and there[2] then
    -- Here comes _ids.lua.
    -- Here comes _records.lua.
    old = record_of(ns, id, there[2])
    known = known or old[1] == token
  elseif not with_record then
    recent = there[2] or ''
    known = known or string.find(recent, token, 1, true)
      and string.find(' ' .. recent .. ' ', ' ' .. token .. ' ', 1, true)
  end
  if known then outcome = 'done' end
end

-- Conditions.
if outcome then
  -- It was done already.
elseif fresh then
  if known_incarnation ~= NONE or known_revision ~= NONE or witnesses ~= '' or mine ~= NONE then
    outcome = 'gone'
  end
elseif new == '1' and revision ~= '0' then
  outcome = 'exists'
elseif known_incarnation ~= NONE and incarnation ~= known_incarnation then
  outcome = 'gone'
elseif known_revision ~= NONE and tonumber(revision) ~= tonumber(known_revision) then
  outcome = 'conflict'
elseif new == '2' and with_record and (there[3] and string.match(there[3], '^%S+') or NONE) ~= parent then
  outcome = 'conflict'
end
if witnesses ~= '' and not outcome then
  if witnesses == '^' then
    -- The latest checkpoint is there: what would take it away names another one.
    local latest = there[3] and string.find(there[3], parent .. ' ', 1, true) == 1
    witnesses = latest and '' or record_field(ns, parent)
  end
  for field in string.gmatch(witnesses, '%S+') do
    if redis.call('HEXISTS', K, field) == 0 then outcome = 'stale' end
  end
end
local holder, since = '-', '0'
if (turn or mine ~= NONE) and not outcome then
  local owner, last, from, name = string.match(turn or '- 0 0 -', '^(%S+) (%d+) (%d+) (%S+)')
  if not owner then damaged(':turn') end
  if number(':turn', last) <= now then owner = '-' else holder, since = name, from end
  if owner ~= (mine ~= NONE and mine or '-') then outcome = 'held' end
end
if fresh then
  incarnation, created = token, given ~= NONE and int(tonumber(given)) or int(now)
  override, revision, arena, pinned, last_ns, count = '-', '0', '0', '0', '-', 1
end
local renew, ends = fresh or revision == '0' or refresh ~= 'never', nil
if renew then
  ends = ends_of(created, override, pinned == '1', now, idle, max_age)
  if ends and ends <= now then outcome = outcome or 'expired' end
end
if outcome then
  -- Here comes _ends.lua.
  -- Here comes _lives.lua.
  local life = life_of(K, there[1])
  if outcome == 'held' then return refused(outcome, life, now) .. ' ' .. holder .. ' ' .. since end
  if outcome ~= 'done' then return refused(outcome, life, now) end
  local base = old and old[1] == token and old[2] or '0' -- the first commit of all starts at 0
  return 'done ' .. life_text(K, life, now) .. ' ' .. base
end

-- Everything is worked out before anything is written: `out` holds fields and values.
local out = {}
local function set(field, value)
  out[#out + 1] = field
  out[#out + 1] = value
end

-- What the log of the writes holds, and held before.
local size, held = 0, 0
local more = 0 -- fields that are new
if with_writes then
  local at = with_record and 5 or 3
  local field, bytes, value, keys = fields[asked], ARGV[at], there[asked], {}
  local added = ''
  if ARGV[at + 1] then
    local begin, prefix = 1, special_prefix(writes_ns, writes_id)
    for key, length in string.gmatch(ARGV[at + 1], '(%S+) (%d+)') do
      local name = prefix .. key
      if not value or redis.call('HEXISTS', K, name) == 0 then keys[#keys + 1] = key end
      set(name, string.sub(ARGV[at + 2], begin, begin + length - 1))
      begin = begin + length
    end
    added = table.concat(keys, ',')
  end
  size = #bytes + #keys
  more = value and #keys or 1 + #keys
  if not value and #bytes <= SEGMENT then
    if added == '' then added = '-' end
    set(field, '0 ' .. added .. ' ' .. writes_spans .. ' ' .. int(#bytes) .. '\n' .. bytes)
  elseif value and size == 0 and writes_spans == '-' and not with_record then
    size = nil -- replaced, all of them: its log stays as it is
  else
    -- Here comes _logs.lua.
    local log = log_of(field, value) or {
      field = field, last = -1, keys = '-', spans = '-', bytes = 0, count = 0, key_lists = 0,
      span_lists = 0,
    }
    held = log.bytes + log.count
    size = held + #keys

    -- Turn the log into one of several commits: its bytes get a field of their own.
    local function part()
      if log.last > 0 or #log.first > 0 then
        more = more + 1
        set(field .. '/0', log.first)
      else
        log.last = -1
      end
    end

    -- Add bytes to its last part, if both are short.
    local function append()
      log.bytes = log.bytes + #bytes
      size = size + #bytes
      local last = field .. '/' .. log.last
      if log.last == 0 and log.first then
        if #log.first + #bytes <= SHORT then
          out[#out] = log.first .. bytes -- where `part` has put it
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
      last = field .. '/' .. log.last
      if redis.call('HEXISTS', K, last) == 1 then damaged(field) end
      more = more + 1
      set(last, bytes)
    end

    -- Items for a list: what stands in the log's line, and how many lists came before. A list that
    -- would get long goes to a field of its own, which is never written again.
    local function add(kind, latest, earlier, items)
      if items == '' or string.find(',' .. latest .. ',', ',' .. items .. ',', 1, true) then
        return latest, earlier
      end
      if latest == '-' then return items, earlier end
      if #latest + #items < LIST then return latest .. ',' .. items, earlier end
      local list = field .. '/' .. kind .. earlier + 1
      if redis.call('HEXISTS', K, list) == 1 then damaged(field) end
      more = more + 1
      set(list, latest)
      return items, earlier + 1
    end

    local wanted = writes_spans == '-' and '' or writes_spans
    if #bytes > 0 or added ~= ''
      or wanted ~= '' and not string.find(',' .. log.spans .. ',', ',' .. wanted .. ',', 1, true)
    then
      if log.first then part() end
      if #bytes > 0 then append() end
      log.keys, log.key_lists = add('k', log.keys, log.key_lists, added)
      log.spans, log.span_lists = add('s', log.spans, log.span_lists, wanted)
      set(field, table.concat({
        log.last < 0 and '-' or log.last, log.keys, log.spans, int(log.bytes), log.count + #keys,
        log.key_lists, log.span_lists,
      }, ' ') .. '\n')
    end
  end

  -- What it holds at least is said by its namespace's words while its checkpoint is the latest.
  local said = there[3]
  if with_record and writes_ns ~= ns then said = redis.call('HGET', K, ':head' .. writes_ns) end
  if not size then
    -- It holds what it held.
  elseif not said then
    if last_ns == writes_ns then damaged(':head' .. writes_ns) end
  elseif count and string.find(said, writes_id .. ' ', 1, true) == 1 then
    local before, least = string.match(said, '^(%S+ %S+ %S+ )([%d-]+)$')
    if not before then damaged(':head' .. writes_ns) end
    if least ~= '-' and held < tonumber(least) then damaged(field) end
    if not with_record or writes_ns ~= ns then set(':head' .. writes_ns, before .. int(size)) end
  end
end

local base, leads = '0', not with_record
if with_record then
  -- Here comes _ids.lua.
  local lead, top, before, least = head_words(last_ns, ns, there[3])
  if not lead then
    if old or not fresh and count
      and redis.call('HLEN', K) - redis.call('HEXISTS', K, 'state') ~= tonumber(count)
    then
      damaged(':head' .. ns)
    end
    before, last_ns, more = last_ns, ns, more + 1
  end

  -- What its log holds, which may be there before it.
  local own = 0
  if same then
    own = size
  elseif lead == id then
    own = least
  elseif there[4] then
    -- Here comes _logs.lua.
    local log = log_of(fields[4], there[4])
    own = log.bytes + log.count
  end
  if writes_id == lead and writes_ns == ns then least = size end

  -- Put a new id into its namespace's chain: find the next lower id and the highest one.
  local lower, least_lower
  if old then
    lower, least_lower = old[4], old[6]
  elseif not top then
    lower, top, least_lower = NO_ID, id, 0
  elseif below(top, id) then
    least_lower = lead == top and least
    lower, top = top, id
  else
    -- Here comes _records.lua.
    local above = top
    while true do
      local w, at, value = chained(ns, above)
      lower = w[4]
      if lower == NO_ID or below(lower, id) then
        w[4], least_lower = id, w[6]
        if w[6] then w[6] = own or '-' end
        set(record_field(ns, above), rewritten(w, at, value))
        break
      end
      above = lower
    end
  end

  -- Add bytes to the arena: the last segment is filled up, others follow.
  local bytes = ARGV[4]
  base = arena
  if #bytes > 0 then
    local size = tonumber(arena)
    local n = math.floor(size / SEGMENT)
    local fill, at = size - n * SEGMENT, 1
    arena = int(size + #bytes)
    if fill > 0 then
      local field = ':a' .. int(n)
      local last = redis.call('HGET', K, field)
      if not last or #last ~= fill then damaged(field) end
      at = SEGMENT - fill + 1
      set(field, last .. (at > #bytes and bytes or string.sub(bytes, 1, at - 1)))
      n = n + 1
    end
    while at <= #bytes do
      set(':a' .. int(n), string.sub(bytes, at, at + SEGMENT - 1))
      n, at, more = n + 1, at + SEGMENT, more + 1
    end
  end

  set(
    fields[2],
    token .. ' ' .. base .. ' ' .. int(#bytes) .. ' ' .. lower .. ' ' .. spans
      .. (count and ' ' .. (least_lower or '-') or '') .. '\n' .. ARGV[3]
  )
  if not old then more = more + 1 end
  leads = not lead or lead == parent or lead == id or below(lead, id)
  if leads then least = own end
  set(
    fields[3],
    (leads and id or lead) .. ' ' .. top .. ' ' .. before .. (count and ' ' .. (least or '-') or '')
  )
elseif not fresh then
  local tokens = token
  if there[2] then tokens = token .. ' ' .. recent else more = more + 1 end
  if #tokens > RECENT then -- the oldest goes
    local short = #tokens - #token -- tokens are nearly always of one length
    tokens = string.byte(tokens, short) == 32 and string.sub(tokens, 1, short - 1)
      or string.match(tokens, '^(.*) ') or token
  end
  set(':done', tokens)
end

if leads and ARGV[2] ~= '' then set('state', ARGV[2]) end -- it may be there or not, and is not counted
local theirs = about and string.match(about, '^%S+')
if owner ~= NONE and (not about or theirs == '-') then
  if not about then more = more + 1 end
  set(':about', about and owner .. string.sub(about, 2) or owner .. ' ')
  theirs = owner
end
revision = int(revision + 1)
local now_text = int(now)
local said = incarnation .. ' ' .. created .. ' ' .. now_text .. ' '

set(
  ':meta',
  (count and '2 ' or '1 ') .. said .. override .. ' ' .. revision .. ' ' .. arena .. ' ' .. pinned
    .. ' ' .. last_ns .. (count and ' ' .. int(count + more) or '')
)

-- Write. The set comes first: another type of value may stand at its key, which ends the script.
if not renew then
  -- Here comes _ends.lua.
  ends = ends_at(K)
end
local ends_text = ends and int(ends) or '-'
if KEYS[2] and theirs == string.match(KEYS[2], '[^:]+$') then
  -- Here comes _owners.lua.
  local name = string.match(K, '([^:]+):latest$')
  -- What renews a session besides may have told a later end.
  listed(KEYS[2], name, now_text, ends, refresh == 'read' or mine ~= NONE)
  let_end(KEYS[2])
end
for at = 1, #out, MOST do
  redis.call('HSET', K, unpack(out, at, math.min(at + MOST - 1, #out)))
end
if renew then
  if ends then redis.call('PEXPIREAT', K, ends_text) else redis.call('PERSIST', K) end
end
return NONCE .. 'done ' .. said .. now_text .. ' ' .. ends_text .. ' ' .. pinned .. ' ' .. revision
  .. ' ' .. base .. (theirs and ' ' .. theirs or ''), true
