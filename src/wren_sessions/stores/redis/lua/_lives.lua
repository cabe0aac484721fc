-- A session's life as a table, and as a reply has it.

-- What the field :meta says as a table, or nil and what `life_words` says.
local function life_of(key, raw)
  local incarnation, created, updated, override, revision, arena, pinned, last_ns, count =
    life_words(key, raw)
  if not incarnation then return nil, created end
  return {
    incarnation = incarnation, created = tonumber(created), updated = tonumber(updated),
    override = override, revision = tonumber(revision), arena = tonumber(arena),
    pinned = pinned == '1', last_ns = last_ns, count = tonumber(count),
  }
end

-- A life as a reply has it. `ends` is when the key ends, or false for never, where that is known.
local function life_text(key, life, now, ends)
  if ends == nil then ends = ends_at(key) end
  return life.incarnation .. ' ' .. int(life.created) .. ' ' .. int(life.updated) .. ' ' .. int(now)
    .. ' ' .. (ends and int(ends) or '-') .. (life.pinned and ' 1 ' or ' 0 ') .. int(life.revision)
end

-- The reply of what was not done, with the life of the session that is there, if any.
local function refused(outcome, life, now)
  return outcome .. ' ' .. int(now) .. (life and ' ' .. life_text(K, life, now) or '')
end
