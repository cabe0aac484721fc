-- The sorted set of an owner's sessions has two members for each: its name, whose score is when it was
-- written last, and its name behind a colon, whose score is when it ends, with a minus in front. So the
-- first member is of the session that ends last, and the set ends with that one.
local NEVER = 999999999999999

-- A call whose error says that it is the set's.
local function of_set(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then error('LISTING ' .. reply.err, 0) end
  return reply
end

-- Note when a session was written, and when it ends (nil or false for never). `later`: an end that is there
-- already only moves forward.
local function listed(set, name, updated, ends, later)
  ends = ends or NEVER
  local there = later and of_set('ZSCORE', set, ':' .. name)
  if there then ends = math.max(ends, -tonumber(there)) end
  of_set('ZADD', set, updated, name, '-' .. int(ends), ':' .. name)
end

local function let_end(set)
  local ends = -(tonumber(redis.call('ZRANGE', set, '0', '0', 'WITHSCORES')[2]) or 0)
  if ends >= NEVER then
    redis.call('PERSIST', set)
  elseif ends > 0 then -- or it is empty, or no end is known
    redis.call('PEXPIREAT', set, int(ends))
  end
end
