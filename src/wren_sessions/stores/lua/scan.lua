-- scan: records with their pending writes by descending id, namespace after namespace.
--
-- KEYS  1 the session
-- ARGV  1 how many at the most
--       2 … pairs of /namespace and the id below which to start, or '' to start at the top
-- Reply {'done', entries, where the rest starts} | {'foreign'} | {'version', v}
--       | {'damaged', field}
-- An entry is {pair number, id, record, log parts, special pairs}; where the rest starts is '' or
-- {pair number, the id below which to go on, or '' for the top}.
local life, refusal = open(K)
if refusal then return refusal end
local entries, limit = {}, tonumber(ARGV[1])
if not life then return {'done', entries, ''} end

-- The first id of a namespace below `before`; '-' if there is none, nil if the chain is broken.
local function first(ns, before)
  local heads = redis.call('HGET', K, ':head' .. ns)
  if not heads then return '-' end
  local id = words(heads)[2]
  if before == '' then return id end
  local w = record(ns, before)
  if w then return w[4] end
  while id ~= '-' and not below(id, before) do
    w = record(ns, id)
    if not w then return nil, record_field(ns, id) end
    id = w[4]
  end
  return id
end

for at = 2, #ARGV, 2 do
  local ns = ARGV[at]
  local id, broken = first(ns, ARGV[at + 1])
  if not id then return {'damaged', broken} end
  local last = ARGV[at + 1]
  while id ~= '-' do
    if #entries == limit then return {'done', entries, {at / 2, last}} end
    local w, _, value = record(ns, id)
    if not w then return {'damaged', record_field(ns, id)} end
    local parts, special = pending(ns, id)
    entries[#entries + 1] = {at / 2, id, value, parts, special}
    last, id = id, w[4]
  end
end
return {'done', entries, ''}
