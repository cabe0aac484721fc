-- scan: records with their pending writes by descending id, namespace after namespace.
--
-- KEYS  1 the session
-- ARGV  1 how many at the most
--       2 … pairs of /namespace and the id below which to start, or '' to start at the top
-- Reply {'done', life, entries, where the rest starts} | {'foreign'} | {'version', v}
-- An entry is {pair number, id, record, log parts, special pairs}; where the rest starts is '' or
-- {pair number, the id below which to go on, or '' for the top}. The life of none is ''.
local life, refusal = open(K)
if refusal then return refusal end
if not life then return {'done', '', {}, ''} end
local now, entries, limit = now_ms(), {}, tonumber(ARGV[1])
local function reply(rest) return {'done', life_text(K, life, now), entries, rest} end

-- The first id of a namespace below `before`.
local function first(ns, before)
  local h = head(life, ns)
  if not h then return NO_ID end
  local id = h[2]
  if before == '' then return id end
  local w = record(ns, before)
  if w then return w[4] end
  while id ~= NO_ID and not below(id, before) do id = chained(ns, id)[4] end
  return id
end

for at = 2, #ARGV, 2 do
  local ns, last = ARGV[at], ARGV[at + 1]
  local id = first(ns, last)
  while id ~= NO_ID do
    if #entries == limit then return reply({at / 2, last}) end
    local w, _, value = chained(ns, id)
    local parts, special = pending(ns, id)
    entries[#entries + 1] = {at / 2, id, value, parts, special}
    last, id = id, w[4]
  end
end
return reply('')
