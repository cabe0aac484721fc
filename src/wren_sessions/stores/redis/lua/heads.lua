-- heads: the latest checkpoint of each namespace, the namespace made last first.
--
-- KEYS  1 the session
-- Reply {'done', /namespace, id, …} | 'foreign' | 'version <v>'
local life, refusal = open(K)
if refusal then return refusal end
local reply = {'done'}
for _, ns in ipairs(life and namespaces(life) or {}) do
  local latest = head(life, ns)[1]
  local field = record_field(ns, latest)
  if redis.call('HEXISTS', K, field) == 0 then damaged(field) end
  reply[#reply + 1] = ns
  reply[#reply + 1] = latest
end
return reply
