-- Ids in their order, and what a namespace says of its own.

local function decoded(id)
  if not string.find(id, '%', 1, true) then return id end
  return (string.gsub(id, '%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Whether id a is below id b, as bytes. (Lua's own < follows the server's locale.)
local function below(a, b)
  a, b = decoded(a), decoded(b)
  for i = 1, math.min(#a, #b), 4 do
    local a1, a2, a3, a4 = string.byte(a, i, i + 3)
    local b1, b2, b3, b4 = string.byte(b, i, i + 3)
    if a1 ~= b1 then return a1 < b1 end
    if a2 ~= b2 then return (a2 or -1) < (b2 or -1) end
    if a3 ~= b3 then return (a3 or -1) < (b3 or -1) end
    if a4 ~= b4 then return (a4 or -1) < (b4 or -1) end
  end
  return #a < #b
end

-- A namespace's four words: of its field's value, nil if there is none; it has no checkpoint then. The
-- last one is a number, or nil where it is not known.
local function head_words(last_ns, ns, value)
  if not value then
    if last_ns == ns then damaged(':head' .. ns) end
    return nil
  end
  local latest, highest, before, least = string.match(value, '^(%S+) (%S+) (%S+) ?([%d-]*)$')
  if not latest then damaged(':head' .. ns) end
  return latest, highest, before, tonumber(least)
end
