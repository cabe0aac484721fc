-- The records of checkpoints, and the chain of their ids.

-- A record's six words (five of version 1) and where its body begins: of its field's value, nil if there is none.
local function record_of(ns, id, value)
  if not value then return nil end
  local _, cut, token, base, own, lower, spans, least =
    string.find(value, '^(%S+) (%d+) (%d+) (%S+) (%S+) ?([%d-]*)\n')
  if not cut or #base > 15 or #own > 15 then damaged(record_field(ns, id)) end
  -- The chain of ids goes down, or a walk along it might not come to an end.
  if lower ~= NO_ID and not below(lower, id) then damaged(record_field(ns, id)) end
  return {token, base, own, lower, spans, least ~= '' and least or nil}, cut + 1
end

-- The words of a record, where its body begins, and all of it; nil if it is not there.
local function record(ns, id)
  local value = redis.call('HGET', K, record_field(ns, id))
  local w, at = record_of(ns, id, value)
  return w, at, value
end

-- The same, of a record that must be there.
local function chained(ns, id)
  local w, at, value = record(ns, id)
  if not w then damaged(record_field(ns, id)) end
  return w, at, value
end

-- What to write for a record whose words were changed.
local function rewritten(w, at, value)
  return table.concat(w, ' ') .. '\n' .. string.sub(value, at)
end
