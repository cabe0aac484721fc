-- namespaces: the namespaces that have checkpoints, the last one first.
--
-- KEYS  1 the session
-- Reply {'done', /namespace, …} | {'foreign'} | {'version', v} | {'damaged', field}
local life, refusal = open(K)
if refusal then return refusal end
local reply = {'done'}
local ns = life and life.last_ns or '-'
while ns ~= '-' do
  reply[#reply + 1] = ns
  local heads = redis.call('HGET', K, ':head' .. ns)
  if not heads then return {'damaged', ':head' .. ns} end
  ns = words(heads)[3]
end
return reply
