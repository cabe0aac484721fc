-- heads: the latest checkpoint of each namespace, the namespace made last first.
--
-- KEYS  1 the session
-- Reply {'done', /namespace, id, …} | 'foreign' | 'version <v>'
local life, refusal = open(K)
if refusal then return refusal end
local reply = {'done'}
for _, ns in ipairs(life and namespaces(life) or {}) do
  reply[#reply + 1] = ns
  reply[#reply + 1] = head(life, ns)[1]
end
return reply
