-- The logs of pending writes, as commits have left them.

local function each(list, visit)
  if list ~= '-' then for item in string.gmatch(list, '[^,]+') do visit(item) end end
end

-- A log: of its field's value, nil if there is none. Early versions wrote logs of several commits in
-- four words, too: the first part of the bytes behind the line, further ones from <log>/1 on.
local function log_of(field, value)
  if not value then return nil end
  local log
  local last, keys, spans, bytes, count, key_lists, span_lists =
    string.match(value, '^(%S+) (%S+) (%S+) (%d+) (%d+) (%d+) (%d+)\n$')
  if last then
    log = {
      field = field, last = last == '-' and -1 or number(field, last), keys = keys, spans = spans,
      bytes = number(field, bytes), count = number(field, count),
      key_lists = number(field, key_lists), span_lists = number(field, span_lists),
    }
  else
    local at
    last, keys, spans, bytes, at = string.match(value, '^(%d+) (%S+) (%S+) (%d+)\n()')
    if not last or last == '0' and #value - at + 1 ~= tonumber(bytes) then damaged(field) end
    count = 0
    each(keys, function() count = count + 1 end)
    log = {
      field = field, last = number(field, last), keys = keys, spans = spans,
      bytes = number(field, bytes), count = count, key_lists = 0, span_lists = 0,
      first = string.sub(value, at),
    }
  end
  -- Each of them is a field. A few are asked for at once: one that is not there is found out then.
  local most = math.max(log.last, log.count, log.key_lists, log.span_lists)
  if most > 64 and most > redis.call('HLEN', K) then damaged(field) end
  return log
end
