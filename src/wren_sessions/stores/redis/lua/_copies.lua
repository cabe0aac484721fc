-- What makes a copy, whichever way its fields come; its life, whose it is, and whose what it replaced was if
-- that had no end. ARGV is that of copy.lua, up to 7.

-- Whether a session is as known: its incarnation and revision; perhaps also whether it is pinned, its own
-- idle timeout, and what :about holds.
local function as_expected(known, there, key)
  if known == '' then return true end
  if not there then return false end
  local is = there.incarnation .. ' ' .. int(there.revision)
  return known == is or known == is .. (there.pinned and ' 1 ' or ' 0 ') .. there.override .. ' '
    .. (redis.call('HGET', key, ':about') or '')
end

-- Make `target` a copy of a session with this life; `fill` brings the session's fields there. If `untold`, only
-- say what its owner's sorted set is to be told first.
local function copied(target, life, now, untold, fill)
  if redis.call('EXISTS', target) == 1 then
    local raw = redis.call('TYPE', target).ok == 'hash' and redis.call('HGET', target, ':meta')
    if raw and string.match(raw, '^%S+ (%S+)') == ARGV[3] then
      return 'done ' .. life_text(target, open(target), now) .. owner_of(target) .. ' -'
    end
    if ARGV[4] ~= '1' then return 'exists' end
  end
  if not as_expected(ARGV[6], life, K) then return 'conflict' end
  if ARGV[7] ~= '' and not as_expected(ARGV[7], open(target), target) then return 'conflict' end
  life.incarnation = ARGV[3]
  life.updated = now
  local ends = deadline(life, now, ARGV[1], ARGV[2])
  if ends and ends <= now then return 'expired' end
  if untold then return 'owned ' .. life_text(K, life, now, ends or false) .. owner_of(K) end
  local former = lasting_owner_of(target)
  fill()
  if redis.call('HDEL', target, ':turn') == 1 and life.count then life.count = life.count - 1 end
  redis.call('HSET', target, ':meta', meta(life))
  if ARGV[5] ~= '' then redis.call('HSET', target, 'state', ARGV[5]) end
  expire(target, ends)
  return 'done ' .. life_text(target, life, now, ends or false) .. owner_of(target) .. former
end
