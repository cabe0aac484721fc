-- turn: take the right to be the only one who writes a session, keep it for longer, or leave it.
--
-- KEYS  1 the session
-- ARGV  1 three words: idle ms or -, max age ms or -, refresh   2 what: take | keep | leave
--       3 four words: token, ttl ms, patience ms, who takes it
-- Reply 'mine | other <now> <who has it, or -> <since> <how many wait for longer> [<life> <owner>]' |
--       'foreign' | 'version <v>'; with the life of a session that lives longer now, and has an owner
-- The field :turn is a line of words: see stores/_turns.py, which does the same.
local idle, max_age, refresh = string.match(ARGV[1], '^(%S+) (%S+) (%S+)$')
local token, ttl, patience, name = string.match(ARGV[3], '^(%S+) (%d+) (%d+) (%S+)$')
local what, now = ARGV[2], now_ms()
local there = redis.call('HMGET', K, ':meta', ':turn', ':about')
local life, refusal = life_of(K, there[1])
if refusal then return refusal end

local owner, ends, since, holder, queue =
  string.match(there[2] or '- 0 0 -', '^(%S+) (%d+) (%d+) (%S+)(.*)$')
if not owner then damaged(':turn') end
if number(':turn', ends) <= now then owner, since, holder = '-', '0', '-' end
local waiting, place, kept = {}, nil, 0
for who, till in string.gmatch(queue, '(%S+) (%d+)') do
  if number(':turn', till) > now then
    waiting[#waiting + 1] = who .. ' ' .. till
    if who == token then place, kept = #waiting, tonumber(till) end
  end
end

local function reply(mine)
  local ahead = place and place - 1 or #waiting
  return (mine and 'mine ' or 'other ') .. int(now) .. ' ' .. holder .. ' ' .. since .. ' ' .. ahead
end

local mine = owner == token
if what == 'leave' then
  if mine then owner, ends, since, holder = '-', '0', '0', '-' end
  if place then table.remove(waiting, place) end
elseif mine or what == 'take' and owner == '-' and (#waiting == 0 or place == 1) then
  if not mine then since = int(now) end
  owner, ends, holder, mine = token, int(now + ttl), name, true
  if place then table.remove(waiting, place) end
elseif what == 'take' and patience ~= '0' and kept < now + patience / 2 then
  place = place or #waiting + 1
  waiting[place] = token .. ' ' .. int(now + patience)
end
if not life then
  if what ~= 'take' then return reply(false) end
  life = {
    incarnation = token, created = now, updated = now, override = '-', revision = 0, arena = 0,
    pinned = false, last_ns = '-', count = 1,
  }
end

-- Write.
local nobody = owner == '-' and #waiting == 0
if nobody and life.revision == 0 then
  redis.call('UNLINK', K) -- the turn has made it, and nothing was written
  return reply(mine)
end
if life.count then
  life.count = life.count + (nobody and 0 or 1) - (there[2] and 1 or 0)
end
redis.call('HSET', K, ':meta', meta(life))
if nobody then
  redis.call('HDEL', K, ':turn')
else
  table.insert(waiting, 1, owner .. ' ' .. ends .. ' ' .. since .. ' ' .. holder)
  redis.call('HSET', K, ':turn', table.concat(waiting, ' '))
  table.remove(waiting, 1)
end
if mine and what ~= 'leave' then
  local last = life.revision == 0 and now + ttl or deadline(life, now, idle, max_age)
  if life.revision == 0 or refresh ~= 'never' and (not last or last > now) then
    expire(K, last)
    local theirs = string.match(there[3] or '-', '^%S+')
    if theirs ~= '-' then
      return reply(mine) .. ' ' .. life_text(K, life, now, last or false) .. ' ' .. theirs
    end
  end
end
return reply(mine)
