-- Generic cell rate algorithm over several subjects: counts all or none.
-- KEYS[i]            when subject i has all its units again, in microseconds since 1970
-- ARGV[1]            now in microseconds since 1970; 0: this server's clock
-- ARGV[2i], [2i+1]   tolerance and cost of subject i in microseconds
-- Returns for each subject how long it has to wait (0: passes) and the tolerance it has left, both in
-- microseconds. All numbers are whole and below 2^53, so they are exact.
local now = tonumber(ARGV[1])
if now == 0 then
	local time = redis.call('TIME')
	now = time[1] * 1000000 + time[2]
end

local answer, after, pass = {}, {}, true
for i, key in ipairs(KEYS) do
	local tolerance, cost = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
	local full = math.max(tonumber(redis.call('GET', key) or 0), now)
	after[i] = full + cost
	local wait = after[i] - now - tolerance
	if wait > 0 then
		pass = false
	end
	answer[2 * i - 1] = math.max(wait, 0)
	answer[2 * i] = tolerance - (full - now)
end

if pass then
	for i, key in ipairs(KEYS) do
		-- A second more than needed: the key may not expire before the units are full.
		redis.call('SET', key, string.format('%.0f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1000)
		answer[2 * i] = answer[2 * i] - tonumber(ARGV[2 * i + 1])
	end
end
return answer
